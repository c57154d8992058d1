package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/tokenauth"
)

const tagServer = "server"

// home says what is where. Every key of the lists is a path, as upstream's
// clients test.
type home struct {
	Name           string            `json:"name"`
	Description    string            `json:"description"`
	Commons        string            `json:"plantdb.commons" doc:"Generation of the API."`
	Server         string            `json:"plantdb.server" doc:"Version of this server."`
	Base           map[string]string `json:"base endpoints" doc:"Path to its methods and what they do."`
	Authentication map[string]string `json:"authentication endpoints" doc:"Path to its methods and what they do."`
	Scans          map[string]string `json:"scans endpoints" doc:"Path to its methods and what they do."`
	Filesets       map[string]string `json:"filesets endpoints" doc:"Path to its methods and what they do."`
	Files          map[string]string `json:"files endpoints" doc:"Path to its methods and what they do."`
	Assets         map[string]string `json:"assets endpoints" doc:"Path to its methods and what they do."`
}

// generation is the upstream generation whose API this is.
const generation = "0.17.0"

type health struct {
	Status   string         `json:"status" enum:"healthy" doc:"healthy; a server that is not answers with an error."`
	Message  string         `json:"message"`
	Database healthDatabase `json:"database" doc:"The tree that is served."`
}

type healthDatabase struct {
	Location  string `json:"location" doc:"Name of the tree's directory; to administrators its whole path."`
	ScanCount int64  `json:"scan_count" doc:"Number of scans that whoever asks may see; without a token those that a guest may."`
}

func (s *server) registerHome() {
	register(s, route{
		id: "get-home", method: http.MethodGet, path: "/", tag: tagServer, security: public, rate: rateRead,
		summary: "What is where", doc: "Name and version of the server, and its routes.",
	}, func(context.Context, *struct{}) (*reply[home], error) { return &reply[home]{s.home()}, nil })
	register(s, route{
		id: "get-health", method: http.MethodGet, path: "/health", tag: tagServer, security: public, rate: rateRead,
		summary: "Is the server healthy?",
		doc: "Asks the database how many scans there are. It needs no token and refuses none, so that whoever watches the server is never " +
			"locked out; an administrator's shows the whole path of the tree. Where the guest is switched off and no token is sent, the number is 0.",
	}, s.health)
	register(s, route{
		id: "reload-scans", method: http.MethodGet, path: "/refresh", tag: tagServer, security: public, rate: rateReload,
		faults:  []error{scan.ErrUnknownScan, errInvalidName, tokenauth.ErrMissing},
		summary: "Bring the index up to date with the tree",
		doc:     "Reads what was changed in the directory from outside. Calls at the same time share one run. It looks for no token: where the guest is switched off it is 401.",
		errors:  []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusLocked},
	}, s.refresh)
}

func (s *server) health(ctx context.Context, in *foundToken) (*reply[health], error) {
	who, err := s.whoever(ctx, in)
	if errors.Is(err, auth.ErrNoUser) { // the guest is switched off
		who, err = actor.Actor{}, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := s.scans.CountVisible(actor.NewContext(ctx, who))
	return replyOf(health{"healthy", "API is running correctly", healthDatabase{s.location(who), n}}, err)
}

// whoever is who sent the token, if it is a good one, and else the guest.
func (s *server) whoever(ctx context.Context, in *foundToken) (actor.Actor, error) {
	claims, _, err := s.authenticator.Authenticate(in.request, tokenauth.Optional)
	if err == nil && claims != nil {
		if a, err := s.auth.Actor(ctx, claims); err == nil {
			return a, nil
		}
	}
	return s.auth.Guest(ctx)
}

// location is where the tree is, as far as it concerns whoever asks: a path
// tells of the machine.
func (s *server) location(who actor.Actor) string {
	whole, err := filepath.Abs(s.config.Location)
	if err != nil {
		whole = s.config.Location
	}
	if who.IsAdmin() {
		return whole
	}
	return filepath.Base(whole)
}

func (s *server) refresh(ctx context.Context, in *struct {
	Scan string `query:"scan_id" doc:"Only this scan." example:"real_plant"`
}) (*reply[message], error) {
	ctx, err := s.asGuest(ctx)
	if err != nil {
		return nil, err
	}
	if in.Scan == "" {
		n, err := s.scans.Refresh(ctx)
		return replyOf(message{fmt.Sprintf("Successfully reloaded entire database with %d scans.", n)}, err)
	}
	if err := pathName(&in.Scan); err != nil {
		return nil, err
	}
	err = misnamed(&ScanPath{in.Scan}, s.scans.RefreshScan(ctx, in.Scan))
	return replyOf(message{fmt.Sprintf("Successfully reloaded scan '%s'.", in.Scan)}, err)
}

// home lists the routes from the document, so that it cannot forget one.
func (s *server) home() home {
	h := home{
		Name: "PlantDB REST API", Description: "RESTful API for querying PlantDB", Commons: generation, Server: s.config.Version,
		Base: map[string]string{}, Authentication: map[string]string{}, Scans: map[string]string{},
		Filesets: map[string]string{}, Files: map[string]string{}, Assets: map[string]string{},
	}
	lists := map[string]map[string]string{
		tagServer: h.Base, tagAuth: h.Authentication, tagScans: h.Scans, tagFilesets: h.Filesets, tagFiles: h.Files, tagAssets: h.Assets,
	}
	for path, item := range s.api.OpenAPI().Paths {
		for _, op := range operationsOf(item) {
			list, ok := lists[op.Tags[0]]
			if !ok || !strings.HasPrefix(path, base+"/") {
				continue // upstream has no list for timelapses, nor for what lies outside the API
			}
			key := s.config.Prefix + path
			list[key] = strings.TrimPrefix(list[key]+"; "+op.Method+": "+op.Summary, "; ")
		}
	}
	return h
}
