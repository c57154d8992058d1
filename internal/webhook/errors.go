package webhook

import "github.com/romi/plantdb-go/internal/fault"

// The failures that callers may see.
var (
	ErrUnknown   = fault.New(fault.NotFound, "unknown_webhook", "Unknown webhook!")
	ErrForbidden = fault.New(fault.Forbidden, "forbidden", "Only administrators manage webhooks.")
	ErrURL       = fault.New(fault.Invalid, "bad_webhook_url", "The URL must be http:// or https://, at most 2048 bytes, without user, password or fragment.")
	ErrAddress   = fault.New(fault.Invalid, "webhook_address", "The URL names an address to which this server does not send (WEBHOOK_NETWORKS).")
	ErrKinds     = fault.New(fault.Invalid, "bad_webhook_kinds", "Kinds are at most 64 texts such as scan.created.")
	ErrText      = fault.New(fault.Invalid, "bad_webhook_description", "The description must be text of at most 500 bytes.")
	ErrTooMany   = fault.New(fault.Conflict, "too_many_webhooks", "There are as many webhooks as there may be.")
	ErrCursor    = fault.New(fault.Invalid, "bad_cursor", "Invalid after parameter: it is next of the page before.")
)
