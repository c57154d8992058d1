// Package browser uses the pages of the built server as a person does, in
// Chromium. With SCREENSHOTS=DIR the pictures stay there, to be looked at.
package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// patience bounds a whole visit; nothing is proven by it.
const patience = 15 * time.Minute

// tab is a tab of a browser, and what it complained of.
type tab struct {
	t      *testing.T
	ctx    context.Context
	server string

	mu         sync.Mutex
	complaints []string
}

// open starts Chromium and opens a tab that lets nothing pass: errors of the
// console, exceptions, and requests that go elsewhere than to the server.
func open(t *testing.T, server string, width, height int) *tab {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; run tools/ensure.sh chromium", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WSURLReadTimeout(patience), chromedp.WindowSize(width, height))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	b := &tab{t: t, server: server}
	ctx, leave := chromedp.NewContext(ctx, chromedp.WithListener(b.listen))
	t.Cleanup(leave)
	b.ctx = ctx
	b.do("open a tab", chromedp.EmulateViewport(int64(width), int64(height)))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, c := range b.complaints {
			t.Error(c)
		}
	})
	return b
}

func (b *tab) listen(event any) {
	var complaint string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			complaint = fmt.Sprintf("console: %s", said(e.Args))
		}
	case *runtime.EventExceptionThrown:
		complaint = fmt.Sprintf("exception: %s %s:%d", e.ExceptionDetails.Text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			complaint = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		u := e.Request.URL
		if !strings.HasPrefix(u, b.server) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") {
			complaint = "fetched from elsewhere: " + u
		}
	}
	if complaint != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, complaint)
		b.mu.Unlock()
	}
}

func said(args []*runtime.RemoteObject) string {
	var words []string
	for _, a := range args {
		words = append(words, fmt.Sprint(a.Value)+a.Description)
	}
	return strings.Join(words, " ")
}

// do takes steps; one that fails ends the test, with a picture.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.picture("failed")
		b.t.Fatalf("%s: %v", what, err)
	}
}

// ask evaluates JavaScript.
func ask[T any](b *tab, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// wait waits until JavaScript is true.
func (b *tab) wait(what, condition string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(patience))); err != nil {
		b.picture("failed")
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *tab) picture(name string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Log(err)
	}
}

// fill types a text in place of what stands in a field.
func (b *tab) fill(field chromedp.CSS, text string) {
	b.t.Helper()
	b.do("fill "+string(field),
		chromedp.Click(field),
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)),
		insert(text))
}

// insert puts in a text at once, as from the clipboard.
func insert(text string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return chromedp.Void{}, err
	}
}

// operation is where the page has an operation.
func operation(id string) chromedp.CSS { return chromedp.CSS(`.opblock[id$="-` + id + `"]`) }

// group is where the page has the name of a group of operations.
func group(name string) chromedp.CSS { return chromedp.CSS("#operations-tag-" + name) }

// unfold opens an operation, and its group where it is closed.
func (b *tab) unfold(name, id string) {
	b.t.Helper()
	if ask[bool](b, fmt.Sprintf("document.querySelector(%q).dataset.isOpen !== 'true'", group(name))) {
		b.do("open "+name, chromedp.Click(group(name)+" button.expand-operation"), chromedp.WaitVisible(operation(id)))
	}
	b.do("unfold "+id,
		chromedp.Click(operation(id)+" .opblock-summary-control"),
		chromedp.WaitVisible(operation(id)+" button.execute"))
}

// execute runs an operation and returns the text of the live answer.
func (b *tab) execute(id string, status int) string {
	b.t.Helper()
	row := operation(id) + " .live-responses-table .response"
	b.do("execute "+id,
		chromedp.Click(operation(id)+" button.execute"),
		chromedp.WaitVisible(row))
	text := ask[string](b, fmt.Sprintf("document.querySelector(%q).innerText", row))
	if !strings.HasPrefix(strings.TrimSpace(text), fmt.Sprint(status)) {
		b.picture("failed")
		b.t.Fatalf("%s answers %.500s, want %d", id, text, status)
	}
	return text
}

// parameters fills the parameters of the path.
func (b *tab) parameters(id string, values map[string]string) {
	b.t.Helper()
	for name, value := range values {
		b.fill(operation(id)+chromedp.CSS(fmt.Sprintf(` tr[data-param-name=%q] input`, name)), value)
	}
}

func photo(t *testing.T) string {
	t.Helper()
	var content bytes.Buffer
	if err := jpeg.Encode(&content, image.NewGray(image.Rect(0, 0, 64, 48)), nil); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "00000_rgb.jpg")
	if err := os.WriteFile(name, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDocs opens /docs, logs in, authorizes, lists, uploads and downloads, by
// mouse; then by keys, by the search and by links, and on the screen of a
// telephone.
func TestDocs(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Options{}, servertest.Dir(t), "--test", "--demo")
	prepare(t, server.URL)
	t.Run("mouse", func(t *testing.T) { byMouse(t, server.URL) })
	t.Run("keys", func(t *testing.T) { byKeys(t, server.URL) })
	t.Run("search", func(t *testing.T) { bySearch(t, server.URL) })
	t.Run("telephone", func(t *testing.T) { onTelephone(t, server.URL) })
}

// prepare makes the fileset that is uploaded into.
func prepare(t *testing.T, url string) {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		c.Login(t.Context(), "admin", "admin"),
		c.Create(t.Context(), client.Path{Scan: "seen"}, nil),
		c.Create(t.Context(), client.Path{Scan: "seen", Fileset: "images"}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func byMouse(t *testing.T, url string) {
	b := open(t, url, 1280, 900)
	b.do("open /docs", chromedp.Navigate(url+"/docs/"), chromedp.WaitVisible(group("auth")))
	b.picture("docs")

	b.unfold("auth", "login")
	b.fill(operation("login")+" textarea.body-param__text", `{"username": "admin", "password": "admin"}`)
	b.execute("login", http.StatusOK)
	var login struct {
		Token string `json:"access_token"`
	}
	answer := ask[string](b, fmt.Sprintf("document.querySelector(%q).innerText", operation("login")+" .live-responses-table .highlight-code code"))
	if err := json.Unmarshal([]byte(answer), &login); err != nil || login.Token == "" {
		t.Fatalf("the page shows %q, %v, want the tokens", answer, err)
	}

	b.do("authorize",
		chromedp.Click(chromedp.CSS(".auth-wrapper button.authorize")),
		chromedp.WaitVisible(chromedp.CSS(".modal-ux input")))
	b.picture("authorize")
	b.fill(".modal-ux .auth-container input", login.Token)
	b.do("authorize",
		chromedp.Click(chromedp.CSS(".modal-ux button.auth.authorize")),
		chromedp.WaitVisible(chromedp.CSS(".modal-ux .auth-container button.auth:not(.authorize)")),
		chromedp.Click(chromedp.CSS(".modal-ux button.close-modal")))

	b.unfold("scans", "list-scans")
	b.picture("list")
	if filled := ask[int](b, fmt.Sprintf("[...document.querySelectorAll(%q)].filter(i => i.value).length", operation("list-scans")+" .parameters input")); filled != 0 {
		t.Errorf("%d fields of list-scans that need not be given are filled in", filled)
	}
	if text := b.execute("list-scans", http.StatusOK); !strings.Contains(text, "real_plant") {
		t.Errorf("list-scans shows %.500s, want real_plant", text)
	}

	path := map[string]string{"scan_id": "seen", "fileset_id": "images", "file_id": "00000_rgb"}
	b.unfold("files", "create-file")
	b.parameters("create-file", path)
	b.fill(operation("create-file")+` tr[data-property-name="ext"] input`, "jpg")
	b.do("choose a file", chromedp.SetUploadFiles(operation("create-file")+` input[type="file"]`, []string{photo(t)}))
	if text := b.execute("create-file", http.StatusCreated); !strings.Contains(text, "00000_rgb") {
		t.Errorf("create-file shows %.500s, want the id", text)
	}
	b.picture("upload")

	b.unfold("files", "get-file")
	b.parameters("get-file", path)
	b.execute("get-file", http.StatusOK)
	b.wait("see the image", fmt.Sprintf("(document.querySelector(%q) || {}).naturalWidth === 64", operation("get-file")+" .live-responses-table img"))
	b.picture("download")
}

func byKeys(t *testing.T, url string) {
	b := open(t, url, 1280, 900)
	b.do("open /docs", chromedp.Navigate(url+"/docs/"), chromedp.WaitVisible(group("server")))
	reach := b.reach
	b.authorizeByKeys(accessToken(t, url))
	reach("a group", fmt.Sprintf("!!at.closest(%q) && at.matches('button')", group("server")))
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(operation("get-health")))
	reach("an operation", fmt.Sprintf("!!at.closest(%q) && at.matches('.opblock-summary-control')", operation("get-health")))
	if !ask[bool](b, "document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle !== 'none'") {
		t.Error("the operation that has the focus does not show it")
	}
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(operation("get-health")+" button.execute"))
	reach("Execute", "at.matches('button.execute')")
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(operation("get-health")+" .live-responses-table .response"))
	b.picture("keys")

	// An operation with a parameter, which is sent with the token.
	reach("another group", fmt.Sprintf("!!at.closest(%q) && at.matches('button')", group("scans")))
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(operation("get-scan")))
	reach("get-scan", fmt.Sprintf("!!at.closest(%q) && at.matches('.opblock-summary-control')", operation("get-scan")))
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(operation("get-scan")+" button.execute"))
	reach("its parameter", fmt.Sprintf("!!at.closest(%q) && at.matches('input')", operation("get-scan")+` tr[data-param-name="scan_id"]`))
	b.do("type an id", chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), insert("seen"))
	reach("Execute", fmt.Sprintf("!!at.closest(%q) && at.matches('button.execute')", operation("get-scan")))
	row := operation("get-scan") + " .live-responses-table .response"
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(row))
	if text := ask[string](b, fmt.Sprintf("document.querySelector(%q).innerText", row)); !strings.HasPrefix(strings.TrimSpace(text), "200") || !strings.Contains(text, "seen") {
		t.Errorf("get-scan by keys answers %.500s, want 200 and the scan", text)
	}
	if sent := ask[string](b, fmt.Sprintf("document.querySelector(%q).innerText", operation("get-scan")+" .curl-command")); !strings.Contains(sent, "Authorization: Bearer ey") {
		t.Errorf("get-scan by keys sends %.500s, want the token in it", sent)
	}
	b.picture("keys-parameter")
}

// authorizeByKeys opens the dialog, puts the token in, and closes it.
func (b *tab) authorizeByKeys(token string) {
	b.t.Helper()
	b.reach("Authorize", "at.matches('.auth-wrapper button.authorize')")
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS(".modal-ux .auth-container input")))
	b.reach("the field of the token", "at === document.querySelector('.modal-ux .auth-container input')")
	b.do("put the token in", insert(token))
	b.reach("the button of the dialog", "at.matches('.modal-ux button.auth.authorize')")
	b.do("press Enter", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS(".modal-ux .auth-container button.auth:not(.authorize)")))
	b.reach("Close", "at.matches('.modal-ux button.close-modal')")
	b.do("press Enter", chromedp.KeyEvent(kb.Enter))
	b.wait("see the dialog go", "document.querySelector('.modal-ux') === null")
}

// accessToken logs the administrator in.
func accessToken(t *testing.T, url string) string {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login(t.Context(), "admin", "admin"); err != nil {
		t.Fatal(err)
	}
	return c.Tokens().Access
}

// reach presses Tab until condition holds of the element that has the focus, at.
func (b *tab) reach(what, condition string) {
	b.t.Helper()
	for range 1000 {
		if ask[bool](b, "(() => { const at = document.activeElement; return "+condition+" })()") {
			return
		}
		b.do("press Tab", chromedp.KeyEvent(kb.Tab))
	}
	b.picture("failed")
	b.t.Fatalf("Tab does not reach %s", what)
}

// shown is JavaScript that lists the operations that the page shows.
const shown = `[...document.querySelectorAll(".opblock")].filter(o => o.getClientRects().length).map(o => o.id.replace(/^operations-/, "")).sort().join(" ")`

func bySearch(t *testing.T, url string) {
	b := open(t, url, 1280, 900)
	b.do("open /docs", chromedp.Navigate(url+"/docs/"), chromedp.WaitVisible(group("server")))
	if found := ask[string](b, shown); found != "" {
		t.Errorf("the page begins with the operations %s", found)
	}
	const field = ".operation-filter-input"
	b.fill(field, "Token SCANS get")
	b.wait("find nothing", `document.querySelectorAll(".opblock-tag").length === 0`)
	b.fill(field, "LIST scan get")
	b.wait("find the list", fmt.Sprintf(`(%s).split(" ").includes("scans-list-scans")`, shown))
	b.picture("search")
	for found := range strings.FieldsSeq(ask[string](b, shown)) {
		if !strings.Contains(found, "list") && !strings.Contains(found, "scan") {
			t.Errorf("the search shows %s", found)
		}
	}
	b.fill(field, "/groups")
	b.wait("find a path", fmt.Sprintf(`(%s).startsWith("groups-")`, shown))
	b.do("empty the field", chromedp.Click(chromedp.CSS(field)), chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.KeyEvent(kb.Delete))
	b.wait("see the groups again", fmt.Sprintf(`(%s) === "" && document.querySelectorAll(".opblock-tag").length > 10`, shown))

	button := chromedp.CSS(".filter-container button")
	b.do("open all", chromedp.Click(button))
	operations := fmt.Sprintf(`(%s).split(" ").length`, shown)
	b.wait("see all operations", operations+" > 100 && document.querySelector('.filter-container button').textContent === 'Close all'")
	b.do("close all", chromedp.Click(button))
	b.wait("see no operation", fmt.Sprintf(`(%s) === ""`, shown))
	if at := ask[string](b, "location.hash"); at != "" {
		t.Errorf("opening all groups leaves %q in the address", at)
	}

	b.do("leave", chromedp.Navigate("about:blank"))
	b.do("follow a link to an operation", chromedp.Navigate(url+"/docs/#/files/create-file"), chromedp.WaitVisible(operation("create-file")+" button.execute"))
	b.wait("see the operation", fmt.Sprintf("(r => r.top >= 0 && r.top < innerHeight)(document.querySelector(%q).getBoundingClientRect())", operation("create-file")))
	b.picture("link")
}

func onTelephone(t *testing.T, url string) {
	b := open(t, url, 390, 844)
	b.do("open /docs", chromedp.Navigate(url+"/docs/"), chromedp.WaitVisible(group("server")))
	fits := func(what string) {
		if w := ask[int](b, "document.documentElement.scrollWidth"); w > 390 {
			t.Errorf("%s is %d pixels wide on a screen of 390", what, w)
		}
	}
	fits("the page")
	b.picture("telephone")
	b.unfold("files", "create-file")
	fits("an operation with a form")
	b.unfold("scans", "get-scan")
	b.parameters("get-scan", map[string]string{"scan_id": "seen"})
	b.execute("get-scan", http.StatusOK)
	fits("an operation with its answer")
	b.picture("telephone-open")
}
