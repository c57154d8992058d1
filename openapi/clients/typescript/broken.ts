      // Put here by generate.sh: of this answer a part came.
      if (broken) {
        if (opts.throwOnError) {
          throw broken;
        }
        return opts.responseStyle === 'data'
          ? undefined
          : {
              error: broken,
              ...result,
            };
      }

