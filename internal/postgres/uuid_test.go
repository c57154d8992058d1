package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// TestUUIDs has PostgreSQL say each form as text and give it back.
func TestUUIDs(t *testing.T) {
	pool, err := Open(t.Context(), startPrivate(t, privateDir(t)).URL(), PoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	one, two := uuid.MustParse("0192f0c1-7a5e-7c3b-8d2f-0a1b2c3d4e5f"), uuid.Nil
	var (
		text    string
		id      uuid.UUID
		pointer *uuid.UUID
		missing *uuid.UUID
		list    []uuid.UUID
		null    uuid.NullUUID
	)
	err = pool.QueryRow(t.Context(),
		"SELECT $1::uuid::text, $1::uuid, $2::uuid, $3::uuid, $4::uuid[], $5::uuid",
		one, &one, (*uuid.UUID)(nil), []uuid.UUID{one, two}, uuid.NullUUID{},
	).Scan(&text, &id, &pointer, &missing, &list, &null)
	if err != nil {
		t.Fatal(err)
	}
	if text != one.String() || id != one || pointer == nil || *pointer != one || missing != nil || null.Valid {
		t.Errorf("%s came back as %s, %s, %v, %v, %v", one, text, id, pointer, missing, null)
	}
	if diff := cmp.Diff([]uuid.UUID{one, two}, list); diff != "" {
		t.Error(diff)
	}
	id = one
	if err := pool.QueryRow(t.Context(), "SELECT null::uuid").Scan(&id); err != nil || id != uuid.Nil {
		t.Errorf("null is %s, %v", id, err)
	}
}
