package scan

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
)

// rowByRow is a database that gives the rows of its queries to each as they come,
// and none to who asks. A search looks at hundreds of documents for one page, and
// each may have megabytes: so no two of them are in memory at once.
type rowByRow struct {
	db.DBTX

	each func(pgx.CollectableRow) error
}

// Query implements db.DBTX.
func (r rowByRow) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := r.DBTX.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		if err := r.each(rows); err != nil {
			rows.Close()
			return nil, err
		}
	}
	return rows, nil // at their end, where their error is
}

// byRow is tx whose rows, which are of type R, are given to visit. While it looks at
// one its connection waits.
func byRow[R any](tx db.DBTX, visit func(R)) db.DBTX {
	return rowByRow{tx, func(row pgx.CollectableRow) error {
		r, err := pgx.RowToStructByPos[R](row)
		if err != nil {
			return fmt.Errorf("read row: %w", err)
		}
		visit(r)
		return nil
	}}
}

// ran is the error of a query whose rows went elsewhere.
func ran[R any](_ []R, err error) error { return err }
