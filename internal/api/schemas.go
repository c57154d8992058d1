package api

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// schemaNames are better names for schemas than those of their Go types, for
// they become the names of classes in generated clients.
var schemaNames = map[string]string{
	"Info": "ScanInfo", "InfoMetadata": "ScanSummary", "InfoFiles": "ScanLinks", "InfoURIs": "ScanOutputs",
	"InfoCamera": "ScanCamera", "Pose": "CameraPose", "Place": "InputFault", "Message": "Done", "ShownToken": "TokenForm",
	"MetadataBody": "Metadata", "Jwk": "PublicKey", "JwkSet": "PublicKeySet", "LoggedIn": "Login", "Refreshed": "TokenPair",
	"Validated": "TokenOwner", "Created": "CreatedItem", "Detail": "EventDetail", "Count": "EventCount", "EventView": "Event", "WebhookView": "Webhook",
}

// schemaPrefix begins a reference to a named schema.
const schemaPrefix = "#/components/schemas/"

// schemaNamer names a type's schema.
func schemaNamer(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if better, ok := schemaNames[name]; ok {
		return better
	}
	return name
}

// schemaDocs says what each named schema is. A test holds that none lacks.
var schemaDocs = map[string]string{ //nolint:gosec // Words about secrets, none of them one (G101).
	"ApiToken":        "A new API token, shown once.",
	"ApiTokenInfo":    "What is known of an API token; the token itself cannot be read again.",
	"ApiTokenList":    "The live API tokens of one user.",
	"ApiTokenRequest": "What an API token is to be good for, and for how long.",
	"Base64Image":     "An image as text, for pages that cannot send a token with an image's address.",
	"CameraPose":      "Where the camera stood for one image, as the reconstruction found it.",
	"CloudPoints":     "The points of a cloud.",
	"CurveSkeleton":   "The curve skeleton of a plant: points, and lines between them by their numbers.",
	"Sequences":       "What was measured along the stem of a plant, each list from the bottom to the top.",
	"MeshCoordinates": "A mesh: its vertices, and its triangles by their numbers.",
	"Deleted":         "What was moved into the trash or brought back, and its entry.",
	"Owner":           "Who owns a scan.",
	"NewOwner":        "Who shall own a scan.",
	"Sharing":         "The groups that a scan is shared with.",
	"TagChange":       "Tags to add to a scan, and to take out.",
	"TagList":         "The tags of a scan.",
	"NewTags":         "Tags for a scan, in place of those it has.",
	"Visibility":      "Who may see a scan.",
	"TrashEntry":      "Something that was deleted and can be restored until it is purged.",
	"TrashList":       "A page of the trash.",
	"CreatedItem":     "What was made, and its id.",
	"CreatedScan":     "What was made, in 0.14's form.",
	"Credentials":     "Who logs in.",
	"Done":            "What was done, for people.",
	"Event":           "One thing that was done.",
	"EventCount":      "How many parts of a scan were changed outside.",
	"EventDetail":     "What else there is to say of an event; what says nothing is left out.",
	"EventList":       "A page of the stream of events.",
	"History":         "A page of what was done to a scan.",
	"Delivery":        "One attempt to deliver a message.",
	"DeliveryList":    "A page of attempts.",
	"NewWebhook":      "A webhook to be made.",
	"Webhook":         "A receiver that events are sent to.",
	"WebhookList":     "All webhooks.",
	"WebhookPatch":    "What is to change of a webhook; what is left out stays.",
	"WebhookSecret":   "A webhook, and its secret, which is shown once.",
	"BatchLine":       "One change of a batch.",
	"BatchResult":     "What became of a line of a batch.",
	"EndedSessions":   "How many sessions have ended.",
	"FileList":        "The files of a fileset.",
	"FilesetList":     "The filesets of a scan.",
	"Group":           "Users with whom a scan can be shared at once.",
	"GroupList":       "Groups and their members.",
	"Health":          "How the server is.",
	"HealthDatabase":  "The tree that is served.",
	"Home":            "Name and version of the server, and its routes by kind.",
	"InputFault":      "One fault of what was sent. It never repeats the value.",
	"Introspection":   "What a token is good for (RFC 7662 section 2.2).",
	"Lock":            "Who holds or waits for the right to write a scan.",
	"RevokedTokens":   "How many API tokens were revoked.",
	"ScrubFinding":    "Something that the scrub found wrong and nobody has mended.",
	"ScrubReport":     "How far the scrub is, and a page of what it found.",
	"LockList":        "Locks that are held or waited for now.",
	"Login":           "A new session.",
	"LogoutRequest":   "What a logout may hold beside its token.",
	"Metadata":        "Metadata, or the value of one key of it.",
	"MetadataUpdate":  "Keys of metadata to set.",
	"NewFileset":      "What a new fileset begins with.",
	"NewGroup":        "A group to be made.",
	"NewScan":         "What a new scan begins with.",
	"NewTimelapse":    "A timelapse to be made.",
	"OlderFileset":    "A fileset to be made, in 0.14's form.",
	"OlderLogin":      "A new session, in the form of 0.14 and 0.15 at once.",
	"OlderScan":       "A scan to be made, in 0.14's form.",
	"OneTimeSecret":   "A secret with which a new password can be set, once.",
	"PasswordChange":  "The password that is, and the one to be.",
	"PasswordRedeem":  "The secret of a reset, and the new password.",
	"Problem":         "The body of every error (RFC 9457), with a stable code for programs.",
	"Profile":         "Who asks.",
	"PublicKey":       "A public key (RFC 8037).",
	"PublicKeySet":    "The public keys that tokens are verified by (RFC 7517).",
	"PublicUser":      "The name of a user.",
	"RefreshRequest":  "The refresh token to be traded in.",
	"Registration":    "A user to be made.",
	"ScanCamera":      "The camera of a scan as the reconstruction found it; empty before Colmap has run.",
	"ScanInfo":        "A scan at a glance: facts, images, which tasks have run, workspace and camera.",
	"ScanLinks":       "Where more of a scan is.",
	"ScanOutputs":     "Where the outputs of the reconstruction are; those that are not there are left out.",
	"ScanSummary":     "The facts that a list of scans shows.",
	"Session":         "A login that lives.",
	"SessionList":     "Live sessions of one user.",
	"SetupRequest":    "The first administrator, and the secret that the server printed.",
	"Timelapse":       "Scans of one plant over time.",
	"TimelapseCounts": "Counts of what a timelapse holds.",
	"TokenForm":       "A token to be asked about or taken back.",
	"TokenOwner":      "A token that counts, and whose it is.",
	"TokenPair":       "The next pair of tokens.",
	"TokenReport":     "Where a token was found; it was not validated.",
	"Unpacked":        "The files that a new scan has got.",
	"Amount":          "Some bytes and files.",
	"Quota":           "What the scans of a user, or of all members of a group together, may hold.",
	"QuotaBounds":     "What a quota allows; what is left out is not bounded.",
	"QuotaList":       "All quotas.",
	"QuotaUse":        "A quota, and what counts against it.",
	"Usage":           "What the scans of a user hold, and may hold.",
	"UploadState":     "How far an upload is.",
	"User":            "An account.",
	"UserList":        "Accounts by name.",
	"UserPatch":       "What is to change of a user; what is left out stays.",
	"UsernameExists":  "Whether a user name is taken.",
}

// propertyDocs says what a property is that means the same wherever it
// stands. A doc tag at the field says more where there is more to say.
var propertyDocs = map[string]string{ //nolint:gosec // Words about secrets, none of them one (G101).
	"active":           "Whether the user may act.",
	"alg":              "Algorithm of the signatures.",
	"aud":              "Whom the token is meant for.",
	"authenticated":    "Whether the login succeeded.",
	"counts":           "How many of what it holds.",
	"created_at":       "When it was made, in UTC.",
	"created_by":       "User name of who made it.",
	"coordinates":      "Points, each x, y and z in the unit of the file.",
	"crv":              "Curve of the key.",
	"current_password": "The password that is.",
	"description":      "For people.",
	"exists":           "Whether there is such a user.",
	"expires":          "When it stops to count, in UTC.",
	"expires_at":       "When it stops to count, in UTC.",
	"expiration date":  "When it stops to count, in UTC.",
	"found":            "Whether there was one.",
	"fullname":         "Name of the person or program.",
	"groups":           "Names of the groups that the user is a member of.",
	"id":               "Id of it.",
	"iss":              "Who made the token.",
	"jti":              "Id of the token.",
	"kty":              "Type of the key.",
	"lines":            "Pairs of numbers of points.",
	"message":          "What was done, for people.",
	"metadata":         "Any keys and values.",
	"name":             "Name of it.",
	"new_password":     "The password to be: from PASSWORD_MIN_LENGTH characters to 1024 bytes, and not a common one.",
	"password":         "At most 1024 bytes.",
	"points":           "Points, each x, y and z in millimetres.",
	"roles":            "What the user may do: reader, contributor or admin.",
	"secret":           "As it was shown.",
	"sub":              "User name of whose token it is.",
	"triangles":        "Three numbers of vertices each.",
	"use":              "What the key is for: sig.",
	"user":             "Whose it is.",
	"user_agent":       "Which program opened it; empty when unknown.",
	"vertices":         "Points, each x, y and z in the unit of the file.",
	"username":         "User name, in lower case.",
}

// shapes are of properties whose Go type is any JSON, passed on as it is
// stored, and whose form is known all the same.
func shapes() map[string]*huma.Schema {
	number := func() *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }
	list := func(item *huma.Schema, n int) *huma.Schema {
		return &huma.Schema{Type: huma.TypeArray, Items: item, MinItems: &n, MaxItems: &n}
	}
	return map[string]*huma.Schema{
		"ScanInfo.workspace": {
			Type: huma.TypeObject, AdditionalProperties: true,
			Properties: map[string]*huma.Schema{"x": list(number(), 2), "y": list(number(), 2), "z": list(number(), 2)},
		},
		"ScanCamera.model":  {Type: huma.TypeObject, AdditionalProperties: true},
		"CameraPose.tvec":   list(number(), 3),
		"CameraPose.rotmat": list(list(number(), 3), 3),
	}
}

// olderProperties are those that scans have only by older paths, for the
// plant-3d-explorer.
func olderProperties() map[string]*huma.Schema {
	flag := func(of string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeBoolean, Description: "The same as " + of + "."}
	}
	return map[string]*huma.Schema{
		"ScanInfo.hasMesh":      flag("hasTriangleMesh"),
		"ScanInfo.hasSkeleton":  flag("hasCurveSkeleton"),
		"ScanInfo.hasAngleData": flag("hasAnglesAndInternodes"),
		"ScanInfo.data": {
			Type: huma.TypeObject, AdditionalProperties: true,
			Description: "Of one scan: its skeleton, and angles with internodes, those in radians. Left out where there are none.",
		},
		"ScanLinks.metadatas":  {Type: huma.TypeString, Description: "The same as metadata."},
		"CameraPose.isMatched": {Type: huma.TypeBoolean, Description: "Always true, of one scan."},
	}
}

// finishOlder adds what only the document of the older paths has.
func finishOlder(doc *huma.OpenAPI) {
	for place, property := range olderProperties() {
		name, key, _ := strings.Cut(place, ".")
		if s := doc.Components.Schemas.Map()[name]; s != nil {
			s.Properties[key] = property
		}
	}
	finishSchemas(doc)
}

// finishSchemas completes the named schemas: what each is, an example that is
// part of an operation's, and nothing that would keep answers from growing.
func finishSchemas(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	for place, shape := range shapes() {
		name, property, _ := strings.Cut(place, ".")
		if s := schemas[name]; s != nil {
			shape.Description = s.Properties[property].Description
			s.Properties[property] = shape
		}
	}
	sent := sentSchemas(doc)
	for name, s := range schemas {
		if s.Description == "" {
			s.Description = schemaDocs[name]
		}
		for key, p := range s.Properties {
			if p.Description == "" {
				p.Description = propertyDocs[key]
			}
		}
		// A newer server may answer with more, and what is sent may hold more:
		// it is ignored.
		if s.AdditionalProperties == false {
			s.AdditionalProperties = nil
			if sent[name] {
				s.AdditionalProperties = true
			}
		}
	}
	e := exampler{schemas}
	for _, path := range sortedKeys(doc.Paths) {
		for _, op := range operationsOf(doc.Paths[path]) {
			e.operation(op)
		}
	}
}

// sentSchemas are the names of those that requests are made of.
func sentSchemas(doc *huma.OpenAPI) map[string]bool {
	found := map[string]bool{}
	var visit func(s *huma.Schema)
	visit = func(s *huma.Schema) {
		if s == nil {
			return
		}
		if name := refName(s); name != "" {
			if found[name] {
				return
			}
			found[name] = true
			s = doc.Components.Schemas.Map()[name]
		}
		visit(s.Items)
		for _, key := range sortedKeys(s.Properties) {
			visit(s.Properties[key])
		}
		if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
			visit(more)
		}
	}
	for _, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			if op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				visit(media.Schema)
			}
		}
	}
	return found
}

// exampler gives named schemas the part of an operation's example that is
// theirs, so that no example is written twice.
type exampler struct{ schemas map[string]*huma.Schema }

func (e exampler) operation(op *huma.Operation) {
	if op.RequestBody != nil {
		e.content(op.RequestBody.Content)
	}
	for _, status := range sortedKeys(op.Responses) {
		e.content(op.Responses[status].Content)
	}
}

func (e exampler) content(content map[string]*huma.MediaType) {
	for _, contentType := range sortedKeys(content) {
		media := content[contentType]
		if media.Example == nil {
			continue
		}
		raw, err := json.Marshal(media.Example)
		var v any
		if err == nil && json.Unmarshal(raw, &v) == nil {
			e.visit(media.Schema, v)
		}
	}
}

func (e exampler) visit(s *huma.Schema, v any) {
	if s == nil || v == nil {
		return
	}
	if len(s.AnyOf) > 0 { // whose first is the usual one
		s = s.AnyOf[0]
	}
	if s = e.named(s, v); s == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		more, _ := s.AdditionalProperties.(*huma.Schema)
		for _, key := range sortedKeys(v) {
			if p, ok := s.Properties[key]; ok {
				e.visit(p, v[key])
			} else {
				e.visit(more, v[key])
			}
		}
	case []any:
		for _, item := range v {
			e.visit(s.Items, item)
		}
	}
}

// named follows a reference and leaves v there as the example, unless there
// is a fuller one.
func (e exampler) named(s *huma.Schema, v any) *huma.Schema {
	name := refName(s)
	if name == "" {
		return s
	}
	s = e.schemas[name]
	object, ok := v.(map[string]any)
	if s == nil || !ok || len(object) == 0 {
		return s
	}
	if len(s.Examples) > 0 {
		if have, _ := s.Examples[0].(map[string]any); len(have) >= len(object) {
			return s
		}
	}
	s.Examples = []any{object}
	return s
}

func refName(s *huma.Schema) string { return strings.TrimPrefix(s.Ref, schemaPrefix) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
