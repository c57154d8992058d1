package webhook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	keyDir  = ".plantdb"
	keyFile = keyDir + "/webhooks.key"
	// secretPrefix is how Standard Webhooks marks a secret.
	secretPrefix = "whsec_"
	secretBytes  = 32
)

// Secret is what a receiver verifies signatures by, as it is shown.
type Secret string

// Sealer keeps secrets so that who has the database alone cannot read them.
type Sealer struct{ aead cipher.AEAD }

// OpenSealer reads the key of the tree below root, and makes it where there is
// none. Several servers may do it at once: one key remains.
func OpenSealer(root *os.Root) (*Sealer, error) {
	key, err := readKey(root)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(root); err == nil || errors.Is(err, fs.ErrExist) {
			key, err = readKey(root)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyFile, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyFile, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyFile, err)
	}
	return &Sealer{aead}, nil
}

func readKey(root *os.Root) ([]byte, error) {
	text, err := root.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != secretBytes {
		return nil, errors.New("it holds no key: restore it, or remove it and give each webhook a new secret")
	}
	return key, nil
}

// makeKey appears whole and stays: written and synced under another name, then
// linked, which fails when the name is taken.
func makeKey(root *os.Root) (err error) {
	if err := root.MkdirAll(keyDir, 0o700); err != nil {
		return err
	}
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // it never fails
	name := keyFile + "." + uuid.NewString()
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = root.Link(name, keyFile)
	}
	return errors.Join(err, root.Remove(name), syncDir(root, keyDir))
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newSecret returns a secret as it is shown, and sealed for one webhook.
func (s *Sealer) newSecret(id uuid.UUID) (shown Secret, sealed []byte) {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // it never fails
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return Secret(secretPrefix + base64.StdEncoding.EncodeToString(raw)), s.aead.Seal(nonce, nonce, raw, id[:])
}

var errSealed = errors.New("the secret cannot be opened with the key of this tree")

func (s *Sealer) open(id uuid.UUID, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, errSealed
	}
	raw, err := s.aead.Open(nil, sealed[:n], sealed[n:], id[:])
	if err != nil {
		return nil, errSealed
	}
	return raw, nil
}

// sign returns the header webhook-signature of Standard Webhooks: one signature
// for each secret.
func sign(secrets [][]byte, id string, at time.Time, body []byte) string {
	list := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		list[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(list, " ")
}
