// Starts Swagger UI on the server's own document. A file of its own, because
// the page's Content-Security-Policy allows no inline script.
'use strict';

SwaggerUIBundle({
  // Relative, so that it is found behind a deploy prefix too.
  url: '../openapi.json',
  dom_id: '#swagger-ui',
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  // A token typed in here is forgotten with the page.
  persistAuthorization: false,
  // The default sends the document's address to a validator on the internet.
  validatorUrl: null,
});
