// Starts Swagger UI on the server's own document. A file of its own, because
// the page's Content-Security-Policy allows no inline script.
'use strict';

// Swagger UI fills an example of a 3.0 document into the field of its parameter
// and sends it with the next call: a cursor of another list, say. What need not
// be given starts empty, and its example is told beside it.
const emptyFields = {
  statePlugins: {spec: {wrapActions: {updateJsonSpec: (next) => (document) => {
    for (const operation of Object.values(document.paths ?? {}).flatMap(Object.values)) {
      for (const parameter of operation.parameters ?? []) {
        if (parameter.required) continue;
        const example = parameter.example ?? parameter.schema?.example;
        if (example === undefined) continue;
        delete parameter.example;
        delete parameter.schema?.example;
        parameter.description = `${parameter.description ?? ''} Example: \`${typeof example === 'string' ? example : JSON.stringify(example)}\`.`;
      }
    }
    return next(document);
  }}}},
};

// Swagger UI reads every document as YAML, and walks through all of it for the
// references of its security schemes. Ours is JSON, and these have none: a
// third of the work until the page is there.
const quickStart = {
  statePlugins: {spec: {wrapActions: {
    parseToJson: (next, {specActions, errActions}) => (text) => {
      let document;
      try {
        document = JSON.parse(text);
      } catch {
        return next(text);
      }
      errActions.clear({source: 'parser'});
      return specActions.updateJsonSpec(document);
    },
    requestResolvedSubtree: (next, {specActions, specSelectors}) => (path) => {
      if (path.join() !== 'components,securitySchemes') return next(path);
      const schemes = specSelectors.specJson().getIn(path)?.toJS() ?? {};
      if (JSON.stringify(schemes).includes('"$ref"')) return next(path);
      return specActions.updateResolvedSubtree(path, schemes);
    },
  }}},
};

// The page begins with the groups alone. What is typed into the field finds the
// operations that have all its words in group, method, path, name or summary,
// and opens their groups.
const search = (system) => {
  const {React} = system;
  const isGroup = (thing) => thing[0] === 'operations-tag';
  const typed = (filter) => typeof filter === 'string' && filter.trim() !== '';

  const opsFilter = (groups, phrase) => {
    const words = phrase.toLowerCase().split(/\s+/);
    const found = (name) => (operation) => {
      const text = [name, operation.get('method'), operation.get('path'), operation.getIn(['operation', 'operationId']), operation.getIn(['operation', 'summary'])]
        .join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return groups
      .map((group, name) => group.update('operations', (operations) => operations.filter(found(name))))
      .filter((group) => group.get('operations').size > 0);
  };

  const FilterContainer = ({layoutSelectors, specSelectors}) => {
    const waiting = React.useRef();
    const find = ({target: {value}}) => {
      clearTimeout(waiting.current);
      waiting.current = setTimeout(() => system.layoutActions.updateFilter(value), 200);
    };
    const groups = specSelectors.taggedOperations().keySeq().toArray();
    const open = groups.every((name) => layoutSelectors.isShown(['operations-tag', name], false));
    // Not by layoutActions.show, which writes each into the page's address.
    const toggle = () => groups.forEach((name) => system.getStore().dispatch(
      {type: 'layout_show', payload: {thing: ['operations-tag', name], shown: !open}}));
    return React.createElement('div', {className: 'filter-container wrapper'},
      React.createElement('input', {
        className: 'operation-filter-input', type: 'search', onChange: find,
        placeholder: 'Find operations', 'aria-label': 'Find operations by words of their group, method, path, name or summary',
      }),
      React.createElement('button', {className: 'btn', type: 'button', onClick: toggle}, open ? 'Close all' : 'Open all'));
  };

  return {
    fn: {opsFilter},
    components: {FilterContainer},
    statePlugins: {layout: {wrapSelectors: {
      isShown: (next) => (state, thing, otherwise) => next(thing, otherwise || (isGroup(thing) && typed(state.get('filter')))),
    }}},
  };
};

SwaggerUIBundle({
  // Relative, so that it is found behind a deploy prefix too. The 3.0 form, since
  // Swagger UI works three times as long on that of 3.1.
  url: '../openapi-3.0.json',
  dom_id: '#swagger-ui',
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [emptyFields, quickStart, search],
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'none',
  filter: true,
  tryItOutEnabled: true,
  // The schemas stand with the operations that have them.
  defaultModelsExpandDepth: -1,
  // A token typed in here is forgotten with the page.
  persistAuthorization: false,
  // The default sends the document's address to a validator on the internet.
  validatorUrl: null,
});
