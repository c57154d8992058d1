// Package client is the Go client of PlantDB: it logs in and stays logged in,
// tries again what is safe, streams files of any size both ways, and fails with
// errors that say what happened and what to do. It works with this server and
// with ROMI's Python server 0.17.
//
//	c, err := client.New("https://plants.example.org")
//	err = c.Login(ctx, "alice", password)
//	for id, err := range c.Scans(ctx, client.Query{Where: `species = "Arabidopsis thaliana"`}) {
//		...
//	}
//
// # Names
//
// A scan is one plant, photographed once. It has filesets, such as "images", and
// those have files. A [Path] names any of the three; what is left empty is not
// part of the name. Ids have no extension: the file "00000_rgb.jpg" is named
// "00000_rgb".
//
// # Sessions
//
// [Client.Login] opens a session, or [WithToken] sends an API token, as a
// scanner has. An access token lives for some minutes: a client asks for the
// next one a little before that, and when the server refuses the one it has. That
// is one refresh, however many goroutines call. When the session cannot be
// refreshed any more, each call fails with [ErrSessionEnded] until somebody logs
// in: nothing is asked as nobody in particular, which would answer with less
// than there is.
//
// A program that wants to go on later keeps what [WithTokenFunc] is called with
// and gives the last of it to [WithTokens]. A refresh token is good once; two
// programs that share one will log each other out.
//
// # Trying again
//
// [Retry] bounds it. A call that only reads is sent again after a broken
// connection and after 502, 503 and 504. So is a PUT, by which something is set
// to what is sent, however often (RFC 9110), unless it names a version by
// If-Match, which the first attempt may have replaced; and so are [Client.Create]
// and [Client.Upload]: should the first attempt have worked and its answer be lost,
// what is there is compared with what was sent, and the call succeeds. Any call is sent again that the server has not begun: one
// that found no connection, 423 and 429. Retry-After is kept to. All pauses end
// with the context.
//
// # Large files
//
// [Client.Upload] reads from an io.Reader and [Client.Download] writes to an
// io.Writer; neither holds more than a buffer. A download that breaks goes on
// where it broke, by range, and never joins two versions of a file.
//
// An upload from a file that is larger than 32 MiB goes in pieces, by tus 1.0:
// after a broken connection, a server that was killed or is overloaded, or a token
// that expired, it goes on with what the server does not have. Before the file is
// made, client and server agree on the SHA-256 of all of it. A file that changes
// under way is [ErrChanged], and nothing is kept of it. Smaller ones, and all of them
// at a server that takes no pieces, are sent whole, and again if need be; one
// from a pipe can be sent once only, and fails instead.
//
// An upload that outlives its process is one that was begun by hand:
//
//	id, err := c.BeginUpload(ctx, path, ".ply", size, nil) // keep the id
//	err = c.ResumeUpload(ctx, id, file)                    // now, and after each failure, here or elsewhere
//
// [OnProgress] tells how far an upload is, [InPieces] sets the size of the pieces,
// [Client.UploadState] asks, [Client.DropUpload] gives up.
//
// # Events
//
// [Client.Events] follows what is done to scans, as it is done:
//
//	for event, err := range c.Events(ctx, client.EventQuery{Kinds: []string{"scan.created"}, After: position}) {
//		if err != nil {
//			return err
//		}
//		position = *event.Position // to go on from, after a restart of the program
//	}
//
// The loop goes on over connections that break or fall silent, restarts of the server and
// the ends of tokens; nothing is missed and nothing is told twice. It ends by break, by
// the context, or by an error that waiting would not mend, such as [ErrSessionEnded]
// or [ErrEventsGone].
//
// # Errors
//
// What the server refused is an [*Error] with status, code and message:
//
//	err := c.Create(ctx, client.Path{Scan: "plant_42"}, nil)
//	if errors.Is(err, client.ErrConflict) {
//		// there is such a scan
//	}
//	var refused *client.Error
//	if errors.As(err, &refused) {
//		log.Print(refused.Status, refused.Code, refused.Message, refused.Advice())
//	}
//
// The sentinels are about what went wrong, not about statuses: [ErrNotFound],
// [ErrForbidden], [ErrNoSpace], [ErrUnreachable], [ErrNotPlantDB], [ErrChanged]
// and their like. They hold for upstream's Python server too, which sends no
// codes and answers much with 500.
//
// # Everything else
//
// [Client.API] is the generated client with one function for each operation of
// the OpenAPI document. It shares the session and the retries.
package client
