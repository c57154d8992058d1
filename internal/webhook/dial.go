package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// sendTimeout bounds an attempt from the first look-up of the name to the
	// last byte of the answer.
	sendTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer, of which nothing is kept.
	maxAnswer       = 4 << 10
	maxAnswerHeader = 16 << 10
	maxURL          = 2048
)

// errRefused says that the address is none to which messages may go.
var errRefused = errors.New("address refused")

// reserved are networks that are not the public internet, or lead out of it, beside
// those that net/netip knows.
var reserved = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// public says whether an address is one of the public internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !within(reserved, a)
}

// allowed says whether messages may go to an address: of the public internet
// only by TLS.
func (s *Service) allowed(a netip.Addr, tls bool) bool {
	a = a.Unmap().WithZone("")
	return within(s.config.Networks, a) || tls && public(a)
}

type tlsKey struct{}

// newClient returns a client that dials only what may be dialled.
func (s *Service) newClient() *http.Client {
	dialer := &net.Dialer{
		Timeout: sendTimeout,
		// Here the name has been looked up: what is dialled is what is judged.
		ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			tls, _ := ctx.Value(tlsKey{}).(bool)
			if err != nil || !s.allowed(a.Addr(), tls) {
				return errRefused
			}
			return nil
		},
	}
	transport := &http.Transport{
		DialContext:       dialer.DialContext, // no proxy, which would dial for us
		ForceAttemptHTTP2: true, MaxIdleConns: 100, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: sendTimeout, MaxResponseHeaderBytes: maxAnswerHeader,
	}
	return &http.Client{
		Transport: transport, Timeout: sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkURL refuses what cannot be sent to whatever its name stands for later.
func (s *Service) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" ||
		strings.ContainsAny(text, " \t\r\n\x00") {
		return ErrURL
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && !s.allowed(a, u.Scheme == "https"):
		return ErrAddress
	case u.Scheme == "http" && len(s.config.Networks) == 0, host == "localhost" && !s.allowed(netip.IPv6Loopback(), false) && !s.allowed(netip.AddrFrom4([4]byte{127, 0, 0, 1}), false):
		return ErrAddress
	}
	return nil
}
