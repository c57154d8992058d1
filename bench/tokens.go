package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/crypto/argon2"
)

// publicRoute looks for a token and neither validates it nor asks the database.
const publicRoute = api + "/auth/token/optional"

func tokenValidation(ctx context.Context, b *bench) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	open := newClient(s.admin.base)
	small, err := open.get(ctx, publicRoute)
	if err != nil {
		return nil, err
	}
	if err := bare.hold("small", small); err != nil {
		return nil, err
	}
	rates, err := b.rates(ctx,
		s.admin.calls(b.clients, http.MethodPost, api+"/auth/token/validation"),
		s.admin.calls(b.clients, http.MethodGet, publicRoute),
		bare.calls(b.clients, http.MethodGet, bareMemory+"small"))
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("token validation, %d clients", b.clients), unit: perSecond,
		ours: rates[0], limit: rates[1], goals: []goal{share(0.8)},
		limitIs: "a public route of the same server, the token sent but not validated; bare net/http: " + perSecond.format(rates[2]),
	}}, nil
}

// accounts registers n users, whose password is their name, and returns them.
func (s *site) accounts(ctx context.Context, prefix string, n int) ([]string, error) {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s_%d", prefix, i)
		err := s.admin.postJSON(ctx, api+"/auth/register",
			map[string]string{"username": names[i], "fullname": names[i], "password": names[i]}, nil)
		if err != nil {
			return nil, fmt.Errorf("register %s: %w", names[i], err)
		}
	}
	return names, nil
}

// The server's Argon2id (RFC 9106).
const (
	hashTime    = 2
	hashMemory  = 19456 // KiB
	hashThreads = 1
	hashSize    = 32
)

// login has each client log in as a user of its own, so that the cap of
// sessions ends one for each that begins, as it does after a while.
func login(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	names, err := s.accounts(ctx, "login", b.clients)
	if err != nil {
		return nil, err
	}
	open := newClient(s.admin.base)
	server := s.server.cmd.Process.Pid
	ours := &load{clients: b.clients, cpu: func() (time.Duration, error) { return treeCPU(server) }, do: func(ctx context.Context, j job) error {
		_, err := logIn(ctx, open, names[j.client], names[j.client])
		return err
	}}
	alone := &load{clients: runtime.NumCPU(), cpu: ownCPU, do: func(context.Context, job) error {
		argon2.IDKey([]byte("password"), []byte("sixteen bytes of"), hashTime, hashMemory, hashThreads, hashSize)
		return nil
	}}
	sums, err := b.takeTurns(ctx, ours, alone)
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("login, %d clients", b.clients), unit: perSecond, ours: sums[0].rate(), limit: sums[1].rate(),
		goals: []goal{share(0.95)}, limitIs: "Argon2id alone on all cores",
	}, {
		what: "  processor time of server and PostgreSQL", unit: millis, ours: sums[0].cpuEach(), limit: sums[1].cpuEach(),
		limitIs: "that of Argon2id alone; other work on the machine disturbs it less than the rate",
	}}, nil
}
