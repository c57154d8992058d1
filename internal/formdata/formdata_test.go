package formdata_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/formdata"
)

const contentType = "multipart/form-data; boundary=frontier"

// read is a part as it came.
type read struct{ Name, FileName, Content string }

// all reads a form to its end.
func all(body io.Reader) (parts []read, rest string, err error) {
	r, err := formdata.New(body, contentType)
	if err != nil {
		return nil, "", err
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			after, err := io.ReadAll(r.Rest())
			return parts, string(after), err
		}
		if err != nil {
			return parts, "", err
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return parts, "", err
		}
		parts = append(parts, read{p.Name, p.FileName, string(content)})
	}
}

// standard is the same by mime/multipart.
func standard(body io.Reader) (parts []read, err error) {
	r := multipart.NewReader(body, "frontier")
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) && errors.Unwrap(err) == nil { // wrapped, it is no end
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return parts, err
		}
		parts = append(parts, read{p.FormName(), p.FileName(), string(content)})
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	const head = "Content-Disposition: form-data; name=a; filename=\"x/b.txt\"\r\n\r\n"
	for name, c := range map[string]struct {
		body string
		want []read
		rest string
		err  error
	}{
		"one part":                   {"--frontier\r\n" + head + "text\r\n--frontier--\r\n", []read{{"a", "b.txt", "text"}}, "", nil},
		"two":                        {"--frontier\r\n" + head + "1\r\n--frontier\r\n" + head + "2\r\n--frontier--", []read{{"a", "b.txt", "1"}, {"a", "b.txt", "2"}}, "", nil},
		"none":                       {"--frontier--\r\n", nil, "", nil},
		"before and after":           {"hello\r\n--frontier \t\r\n" + head + "1\r\n--frontier-- \r\nbye", []read{{"a", "b.txt", "1"}}, "bye", nil},
		"empty":                      {"--frontier\r\n" + head + "\r\n--frontier--", []read{{"a", "b.txt", ""}}, "", nil},
		"empty, without its break":   {"--frontier\r\n" + head + "--frontier--", []read{{"a", "b.txt", ""}}, "", nil},
		"a break only":               {"--frontier\r\n" + head + "\r\n\r\n--frontier--", []read{{"a", "b.txt", "\r\n"}}, "", nil},
		"no head":                    {"--frontier\r\n\r\n1\r\n--frontier--", []read{{"", "", "1"}}, "", nil},
		"breaks without a return":    {"--frontier\n" + strings.ReplaceAll(head, "\r", "") + "1\r\n--frontier--\n", []read{{"a", "b.txt", "1\r"}}, "", nil},
		"nearly a boundary":          {"--frontier\r\n" + head + "1\r\n--frontierX\r\n--frontier-x\r\n--frontie\r\n--frontier--", []read{{"a", "b.txt", "1\r\n--frontierX\r\n--frontier-x\r\n--frontie"}}, "", nil},
		"the boundary in a line":     {"--frontier\r\n" + head + "1--frontier--\r\n--frontier--", []read{{"a", "b.txt", "1--frontier--"}}, "", nil},
		"nothing":                    {"", nil, "", nil},
		"no boundary":                {"text\r\n", nil, "", io.ErrUnexpectedEOF},
		"cut in the boundary":        {"--front", nil, "", io.ErrUnexpectedEOF},
		"cut in the head":            {"--frontier\r\nContent-Disp", nil, "", io.ErrUnexpectedEOF},
		"cut in the content":         {"--frontier\r\n" + head + "tex", nil, "", io.ErrUnexpectedEOF},
		"cut in the second boundary": {"--frontier\r\n" + head + "tex\r\n--front", nil, "", io.ErrUnexpectedEOF},
	} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "a byte at a time": iotest.OneByteReader, "data and EOF": iotest.DataErrReader,
		} {
			parts, rest, err := all(wrap(strings.NewReader(c.body)))
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%s, %s: error = %v, want %v", name, how, err, c.err)
			}
			if diff := cmp.Diff(c.want, parts); diff != "" || rest != c.rest {
				t.Errorf("%s, %s: rest = %q, want %q; parts: %s", name, how, rest, c.rest, diff)
			}
		}
	}
}

// Wherever the window ends, content and boundary are told from one another.
func TestWindow(t *testing.T) {
	t.Parallel()
	const window = 128 << 10
	for _, fill := range []string{"x", "\r", "\n", "-", "\r\n", "\r\n--frontie", "\r\n--frontierX"} {
		for size := window - 120; size < window+20; size++ {
			content := strings.Repeat(fill, size/len(fill)+1)[:size-1] + "." // no whole boundary
			body := "--frontier\r\nContent-Disposition: form-data; name=a\r\n\r\n" + content + "\r\n--frontier\r\n\r\nsecond\r\n--frontier--\r\n"
			parts, _, err := all(strings.NewReader(body))
			if err != nil || len(parts) != 2 || parts[0].Content != content || parts[1].Content != "second" {
				t.Fatalf("%d bytes of %q: %d parts, %v", size, fill, len(parts), err)
			}
		}
	}
}

// telling is a body that breaks off, and tells when that was noticed.
type telling struct {
	io.Reader
	noticed bool
}

func (t *telling) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.noticed = t.noticed || err != nil
	return n, err
}

// TestNoSooner holds that a break is noticed when it is told, not while content
// before it is given on: net/http ends the context of a request by it.
func TestNoSooner(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	whole := "--frontier\r\nContent-Disposition: form-data; name=a\r\n\r\n" + strings.Repeat("content\r\n--front", 20) + "\r\n--frontier--\r\n"
	for cut := range len(whole) {
		body := &telling{Reader: io.MultiReader(strings.NewReader(whole[:cut]), iotest.ErrReader(broken))}
		r, err := formdata.New(body, contentType)
		if err != nil {
			t.Fatal(err)
		}
		part, err := r.Next()
		for buffer := make([]byte, 1000); err == nil; {
			if _, err = part.Read(buffer); err == nil && body.noticed {
				t.Fatalf("cut at %d of %d, noticed before it was told", cut, len(whole))
			}
		}
		if !errors.Is(err, broken) && !errors.Is(err, io.EOF) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// What is no form, and what has no bounds, is refused.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + strings.Repeat("x", 71), "multipart/x; boundary=a"} {
		if _, err := formdata.New(strings.NewReader(""), kind); err == nil {
			t.Errorf("New(%q) takes it", kind)
		}
	}
	for name, body := range map[string]string{
		"long line before":  strings.Repeat("x", 1<<20),
		"many lines before": strings.Repeat("x\r\n", 1<<20),
		"long head":         "--frontier\r\nA: " + strings.Repeat("x", 1<<20),
		"many heads":        "--frontier\r\n" + strings.Repeat("A: x\r\n", 1<<20),
		"no colon":          "--frontier\r\nA\r\n\r\n",
		"white line":        "--frontier\r\nA: b\r\n \r\n\r\n1\r\n--frontier--",
		"text after":        "--frontier\r\n\r\n1\r\n--frontier text\r\n\r\n1\r\n--frontier--",
		"many parts":        strings.Repeat("--frontier\r\n\r\n1\r\n", 1001) + "--frontier--",
	} {
		source := strings.NewReader(body)
		if _, _, err := all(source); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error = %v, want that it is refused", name, err)
		}
		if read := len(body) - source.Len(); read > 256<<10 {
			t.Errorf("%s: %d bytes were read before it was refused", name, read)
		}
	}
	broken := errors.New("broken")
	if _, _, err := all(io.MultiReader(strings.NewReader("--frontier\r\n\r\n1"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("of a line that breaks = %v, want its error", err)
	}
}

// FuzzForm holds that a form is taken apart as mime/multipart takes it apart.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"", "--frontier--", "--frontier\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--frontier--\r\n", "x\r\n--frontier\n\nb\n--frontier--\nrest",
		"--frontier\r\n\r\n--frontier--", "--frontier\r\n\r\n\r\n--frontierX\r\n--frontier-\r\n--frontier--", "--frontier \t\r\nA: b\r\n c\r\n\r\n\r\r\n--frontier",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(asStandard)
}

// TestPieces does the same with bodies of pieces of forms, in any order.
func TestPieces(t *testing.T) {
	t.Parallel()
	pieces := []string{"--frontier", "--frontier", "\r\n", "\r\n", "\n", "\r", "-", "--", " ", "\t", "x", "A: b", "\r\n\r\n", "Content-Disposition: form-data; name=a"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		body := []byte("--frontier\r\n")
		if random.IntN(4) == 0 {
			body = nil
		}
		for range random.IntN(16) {
			body = append(body, pieces[random.IntN(len(pieces))]...)
		}
		if asStandard(t, body); t.Failed() {
			t.Fatalf("the body is %q", body)
		}
	}
}

func asStandard(t *testing.T, body []byte) {
	parts, _, err := all(bytes.NewReader(body))
	want, wantErr := standard(bytes.NewReader(body))
	if len(body) == 0 {
		wantErr = nil // no form, and no part
	}
	// A body that ends in a head has ended well for mime/multipart.
	cut := errors.Is(err, io.ErrUnexpectedEOF) && wantErr == nil
	if (err == nil) != (wantErr == nil) && !cut && !beyond(body) {
		t.Errorf("error = %v, that of mime/multipart %v", err, wantErr)
	}
	if (err == nil || cut) && wantErr == nil {
		if diff := cmp.Diff(want, parts); diff != "" {
			t.Error(diff)
		}
	}
	slow, _, slowErr := all(iotest.OneByteReader(bytes.NewReader(body)))
	if diff := cmp.Diff(parts, slow); diff != "" || fmt.Sprint(err) != fmt.Sprint(slowErr) {
		t.Errorf("a byte at a time: %v, at once %v; %s", slowErr, err, diff)
	}
}

// beyond says whether a body has what only one of the two takes: lines of
// white space in a head, and what is too long for one of them.
func beyond(body []byte) bool {
	if len(body) > 4000 {
		return true
	}
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > 0 && len(bytes.TrimSpace(line)) == 0 {
			return true
		}
	}
	return false
}

// BenchmarkForm passes a form of text without carriage returns, and of bytes of
// all values.
func BenchmarkForm(b *testing.B) {
	random := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(random); i++ {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	for name, content := range map[string][]byte{"text": bytes.Repeat([]byte("0123456789abcdef"), 1<<16), "bytes": random} {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		if err := w.SetBoundary("frontier"); err != nil {
			b.Fatal(err)
		}
		part, err := w.CreatePart(textproto.MIMEHeader{})
		if err == nil {
			_, err = part.Write(content)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			b.Fatal(err)
		}
		buffer := make([]byte, 256<<10)
		b.Run(name+"/formdata", func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				r, err := formdata.New(bytes.NewReader(body.Bytes()), contentType)
				if err != nil {
					b.Fatal(err)
				}
				pass(b, buffer, func() (io.Reader, error) { return r.Next() })
			}
		})
		b.Run(name+"/mime_multipart", func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				r := multipart.NewReader(bytes.NewReader(body.Bytes()), "frontier")
				pass(b, buffer, func() (io.Reader, error) { return r.NextRawPart() })
			}
		})
	}
}

func pass(b *testing.B, buffer []byte, next func() (io.Reader, error)) {
	b.Helper()
	part, err := next()
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, part, buffer)
	}
	if err != nil {
		b.Fatal(err)
	}
}
