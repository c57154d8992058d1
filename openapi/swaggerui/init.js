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

SwaggerUIBundle({
  // Relative, so that it is found behind a deploy prefix too. The 3.0 form, since
  // Swagger UI works three times as long on that of 3.1.
  url: '../openapi-3.0.json',
  dom_id: '#swagger-ui',
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [emptyFields],
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  // The schemas stand with the operations that have them.
  defaultModelsExpandDepth: -1,
  // A token typed in here is forgotten with the page.
  persistAuthorization: false,
  // The default sends the document's address to a validator on the internet.
  validatorUrl: null,
});
