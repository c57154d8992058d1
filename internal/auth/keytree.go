package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/tokenauth"
)

const (
	// keyFile holds the key that signs; the others are beside it, each under
	// its kid.
	keyDir    = ".plantdb"
	keyFile   = keyDir + "/jwt.key"
	keyPrefix = "jwt-"
	keySuffix = ".key"
	// maxTreeKeys bounds how many keys a tree keeps.
	maxTreeKeys = 32
)

// keyTree is the keys that a tree keeps in files of its own. The files say
// what is so; the table signing_keys, written after them, tells every server
// to look.
type keyTree struct {
	*keyLoader
	root *os.Root
}

func newKeyTree(l *keyLoader, root *os.Root) *keyTree { return &keyTree{l, root} }

func verifyingFile(kid string) string { return keyDir + "/" + keyPrefix + kid + keySuffix }

// read returns the key that signs and those that verify besides.
func (t *keyTree) read(ctx context.Context) (signing tokenauth.Key, verifying []tokenauth.Key, err error) {
	if signing, err = t.readKey(ctx, keyFile); err != nil {
		return signing, nil, err
	}
	entries, err := fs.ReadDir(t.root.FS(), keyDir)
	if err != nil {
		return signing, nil, fmt.Errorf("list keys: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), keyPrefix) || !strings.HasSuffix(e.Name(), keySuffix) {
			continue
		}
		key, err := t.readKey(ctx, keyDir+"/"+e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // retired since
		}
		if err != nil {
			return signing, nil, err
		}
		// Right after a rotation the signing key still has both names.
		if key.ID() != signing.ID() {
			verifying = append(verifying, key)
		}
	}
	return signing, verifying, nil
}

func (t *keyTree) readKey(ctx context.Context, name string) (tokenauth.Key, error) {
	text, err := readText(t.root, name)
	if err != nil {
		return tokenauth.Key{}, fmt.Errorf("%s: %w", name, err)
	}
	key, err := t.key(ctx, text)
	if err != nil {
		return tokenauth.Key{}, fmt.Errorf("read %s: %w", name, err)
	}
	return key, nil
}

// ensure makes the first key of a tree, unless somebody has. It appears whole
// and stays: written and synced under another name, then linked, which fails
// when the name is taken.
func (t *keyTree) ensure(algorithm string) error {
	if _, err := t.root.Stat(keyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.root.Mkdir(keyDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_, text, err := newTreeKey(algorithm)
	if err != nil {
		return err
	}
	if err = t.place(text, keyFile); errors.Is(err, fs.ErrExist) {
		return nil // another server was first; its key counts
	}
	// What holds the directory itself must be durable, too.
	return errors.Join(err, syncDir(t.root, "."))
}

// publish puts a new key beside the others, with which it verifies.
func (t *keyTree) publish(algorithm string) (tokenauth.Key, error) {
	key, text, err := newTreeKey(algorithm)
	if err != nil {
		return key, err
	}
	return key, t.place(text, verifyingFile(key.ID()))
}

// activate makes a published key the one that signs; the one before verifies
// on. After a crash in between, the one before has two names.
func (t *keyTree) activate(kid, before string) error {
	if err := t.root.Link(keyFile, verifyingFile(before)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.root.Rename(verifyingFile(kid), keyFile); err != nil {
		return err
	}
	return syncDir(t.root, keyDir)
}

// remove forgets a key for good.
func (t *keyTree) remove(kid string) error {
	if err := t.root.Remove(verifyingFile(kid)); err != nil {
		return err
	}
	return syncDir(t.root, keyDir)
}

// place makes a file of that content, durably and in one step; fs.ErrExist if
// the name is taken.
func (t *keyTree) place(text, name string) error {
	temporary := keyFile + "." + rand.Text()
	if err := t.writeSynced(temporary, text); err != nil {
		return err
	}
	err := t.root.Link(temporary, name)
	return errors.Join(err, t.root.Remove(temporary), syncDir(t.root, path.Dir(name)))
}

func (t *keyTree) writeSynced(name, text string) error {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, t.giveAway(f), f.Sync(), f.Close())
}

// giveAway makes a key belong to whom the directory belongs to: the server
// must be able to read what root made on the command line.
func (t *keyTree) giveAway(f *os.File) error {
	info, err := t.root.Stat(keyDir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newTreeKey returns a key of the algorithm and the text that it is kept as.
func newTreeKey(algorithm string) (tokenauth.Key, string, error) {
	for {
		key, text, err := makeKey(algorithm)
		// A kid that looks like a flag would be a nuisance on the command line.
		if err != nil || !strings.HasPrefix(key.ID(), "-") {
			return key, text, err
		}
	}
}

func makeKey(algorithm string) (key tokenauth.Key, text string, err error) {
	switch algorithm {
	case HS512:
		raw := make([]byte, tokenauth.MinSecret)
		_, _ = rand.Read(raw) // never fails, since Go 1.24
		key, err = tokenauth.NewHMACKey(raw)
		return key, "base64:" + base64.StdEncoding.EncodeToString(raw) + "\n", err
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return key, "", err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return key, "", err
		}
		key, err = tokenauth.NewEd25519Key(private)
		return key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
	}
	return key, "", fmt.Errorf("algorithm %q is neither HS512 nor EdDSA", algorithm)
}

// loadTree reads the keys of the tree, which has one afterwards.
func (k *Keys) loadTree(ctx context.Context, t *keyTree, algorithm string) error {
	if err := t.ensure(algorithm); err != nil {
		return fmt.Errorf("keep signing key in %s: %w", keyFile, err)
	}
	k.tree = t
	signing, err := k.readTree(ctx)
	if err != nil || signing.Algorithm() == algorithm {
		return err
	}
	if _, err = t.rotate(ctx, algorithm, settled); err != nil {
		return fmt.Errorf("make a signing key for %s: %w", algorithm, err)
	}
	_, err = k.readTree(ctx)
	return err
}

// readTree fills the ring from the files and writes down what is in it.
func (k *Keys) readTree(ctx context.Context) (signing tokenauth.Key, err error) {
	var verifying []tokenauth.Key
	// In the lock, or it would write down as retired what is being published.
	err = k.tree.inLock(ctx, func(tx pgx.Tx) error {
		if signing, verifying, err = k.tree.read(ctx); err != nil {
			return err
		}
		verifying = append(verifying, k.previous...)
		return k.tree.record(ctx, tx, signing, verifying)
	})
	if err != nil {
		return signing, err
	}
	k.Ring, err = tokenauth.NewKeyring(signing, verifying...)
	return signing, err
}
