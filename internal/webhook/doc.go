// Package webhook sends events to receivers that administrators name: signed,
// in the order of the stream, each at least once.
//
// A webhook is a place in the stream of events. Every server looks twice a
// second which ones have something after their place and nobody who delivers;
// it takes a turn and inserts a job. The job sends event after event and moves
// the place on with the record of each attempt. A turn ends when its lease is
// over, so that a server that is killed stops nobody for longer; whoever comes
// late finds that it is not its turn any more, and writes nothing. An attempt
// that fails ends the turn and puts the next one off, longer each time; after
// maxFailures the webhook is disabled and keeps its place.
//
// # Secrets
//
// The secret of a webhook is shown once, when it is made. It has to be known to
// sign, so it is kept: sealed (AES-256-GCM, bound to the id of its webhook) with a
// key that lies in a file of the tree, .plantdb/webhooks.key, and never in the
// database. A copy of the database alone gives no secret away.
//
// # Where messages may go
//
// The address that is dialled, not the name, must be one of the public internet
// or of the networks in the settings, so that nobody can have the server call its own
// neighbours. Redirects are not followed, no proxy is asked, and plain HTTP goes
// to the networks of the settings only.
//
// The package speaks HTTP as a client. It knows nothing of our own surface.
package webhook
