package client_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/servertest"
)

// address is where the examples find a server. They run on a real one, in a
// process of their own that examples starts.
var address = cmp.Or(os.Getenv("PLANTDB_EXAMPLES"), "https://plants.example.org")

func TestMain(m *testing.M) {
	if os.Getenv("PLANTDB_EXAMPLES") == "" {
		_ = flag.Set("test.skip", "^Example") // TestServer runs them
	}
	os.Exit(servertest.Main(m))
}

func examples(t *testing.T, url string) {
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^Example", "-test.v")
	run.Env = append(os.Environ(), "PLANTDB_EXAMPLES="+url)
	said, err := run.CombinedOutput()
	if err != nil || strings.Count(string(said), "--- PASS: Example") != 6 {
		t.Errorf("examples: %v, want six that pass:\n%s", err, said)
	}
}

func Example() {
	ctx := context.Background()
	c, err := client.New(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Login(ctx, "admin", "admin"); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Logout(ctx) }()

	scan := client.Path{Scan: "example_42"}
	images := client.Path{Scan: "example_42", Fileset: "images"}
	err = errors.Join(
		c.Create(ctx, scan, map[string]any{"object": map[string]any{"species": "Arabidopsis thaliana"}}),
		c.Create(ctx, images, nil),
		c.Upload(ctx, client.Path{Scan: "example_42", Fileset: "images", File: "notes"}, ".txt", strings.NewReader("watered"), nil),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	files, err := c.Files(ctx, "example_42", "images")
	fmt.Println(files, err)
	// Output: [notes] <nil>
}

func ExampleClient_Scans() {
	ctx := context.Background()
	c, _ := client.New(address)
	for id, err := range c.Scans(ctx, client.Query{Where: `id ~ "plant$"`, Sort: "-created"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(id)
	}
	// Output:
	// virtual_plant
	// real_plant
}

func ExampleClient_ResumeUpload() {
	ctx := context.Background()
	c, _ := client.New(address)
	if err := c.Login(ctx, "admin", "admin"); err != nil {
		fmt.Println(err)
		return
	}
	scan, fileset := client.Path{Scan: "example_cloud"}, client.Path{Scan: "example_cloud", Fileset: "cloud"}
	if err := errors.Join(c.Create(ctx, scan, nil), c.Create(ctx, fileset, nil)); err != nil {
		fmt.Println(err)
		return
	}
	points := bytes.NewReader(make([]byte, 3<<20)) // or a file

	// One process begins, and keeps the id.
	id, err := c.BeginUpload(ctx, client.Path{Scan: "example_cloud", Fileset: "cloud", File: "points"}, ".ply", points.Size(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	// This one or a later one sends, as often as it takes.
	err = c.ResumeUpload(ctx, id, points, client.OnProgress(func(client.UploadProgress) {
		// fmt.Printf("\r%d of %d bytes", at.Kept, at.Size), say
	}))
	state, _ := c.UploadState(ctx, id)
	fmt.Println(err, state.Finished)
	// Output: <nil> true
}

func ExampleClient_Events() {
	ctx := context.Background()
	c, _ := client.New(address)
	if err := c.Login(ctx, "admin", "admin"); err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Create(ctx, client.Path{Scan: "example_followed"}, nil); err != nil {
		fmt.Println(err)
		return
	}
	// "0" begins with the oldest event, "" with what comes.
	for event, err := range c.Events(ctx, client.EventQuery{Scan: "example_followed", After: "0"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.Kind, *event.User)
		break
	}
	// Output: scan.created admin
}

func ExampleClient_Download() {
	ctx := context.Background()
	c, _ := client.New(address)
	var picture bytes.Buffer // or a file
	at, err := c.Download(ctx, client.Path{Scan: "real_plant", Fileset: "images", File: "00000_rgb"}, &picture)
	if err != nil {
		// c.ResumeDownload(ctx, path, &picture, at) goes on later.
		fmt.Println(err)
		return
	}
	fmt.Println(at.Bytes == int64(picture.Len()), at.ETag != "")
	// Output: true true
}

func ExampleError() {
	ctx := context.Background()
	c, _ := client.New(address)
	_, err := c.Scan(ctx, "plant_of_last_year")
	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrNotFound) && errors.As(err, &refused):
		fmt.Println(refused.Status, refused.Code, refused.Message)
	case err != nil:
		fmt.Println(err) // says what to do
	}
	// Output: 404 unknown_scan Unknown scan id 'plant_of_last_year'!
}
