package auth

import (
	"testing"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

// clockJump is how far clocks of machines go wrong: a time zone taken for
// another, a battery that is empty.
const clockJump = 5 * time.Hour

// Whichever way the clock jumps, who knows the password is let in at once, by
// tokens that work, and what is over stays over.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forwards": clockJump, "backwards": -clockJump} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.service(t)
			register(t, s, "alice")
			verify := func(p Pair) error {
				claims, err := s.Verifier().Verify(t.Context(), p.Access, tokenauth.Access)
				if err == nil {
					_, err = s.Actor(t.Context(), claims)
				}
				return err
			}
			before, over := login(t, s, "alice"), login(t, s, "alice")
			if _, err := s.Logout(t.Context(), &over.AccessClaims); err != nil {
				t.Fatal(err)
			}
			w.step(jump)
			if err := verify(before); jump > 0 {
				wantErr(t, "an access token of before", err, tokenauth.ErrExpired)
			} else {
				wantErr(t, "an access token of before", err, tokenauth.ErrNotYetValid)
			}
			wantErr(t, "an access token of a new login", verify(login(t, s, "alice")), nil)
			if jump > 0 {
				pair, err := s.Refresh(t.Context(), before.Refresh)
				wantErr(t, "Refresh of before", err, nil)
				wantErr(t, "its access token", verify(pair), nil)
			}
			if _, err := s.CleanUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.step(-jump) // set right again
			for what, other := range map[string]*Service{"this server": s, "another": w.service(t)} {
				_, err := other.Actor(t.Context(), &over.AccessClaims)
				wantErr(t, "a session that was ended, on "+what, err, tokenauth.ErrSessionEnded)
				_, err = other.Refresh(t.Context(), over.Refresh)
				wantErr(t, "Refresh of a session that was ended, on "+what, err, tokenauth.ErrSessionEnded)
			}
			wantErr(t, "an access token of another login", verify(login(t, s, "alice")), nil)
		})
	}
}

// Nobody is locked out for longer than the setting says because the clock went
// back, and guessing is bounded all the same.
func TestClockJumpEndsLockout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	try := func(pw string) error {
		_, _, err := s.Login(from(t.Context(), "192.0.2.1"), "alice", pw)
		return err
	}
	for _, jump := range []time.Duration{-clockJump, -24 * clockJump} {
		for range 3 {
			wantErr(t, "Login(wrong)", try("wrong"), ErrCredentials)
		}
		wantErr(t, "locked: Login(right)", try(password), ErrCredentials)
		w.step(jump)
		for range 3 {
			wantErr(t, "after the jump: Login(wrong)", try("wrong"), ErrCredentials)
		}
		wantErr(t, "locked after the jump: Login(right)", try(password), ErrCredentials)
		w.step(s.c.LoginLockout)
		wantErr(t, "after the lockout: Login(right)", try(password), nil)
		for range 3 {
			wantErr(t, "Login(wrong)", try("wrong"), ErrCredentials)
		}
		w.step(jump)
		wantErr(t, "after a jump: Login(right)", try(password), nil)
	}
}
