// Package db is what sqlc makes of the SQL in queries/ and migrations/. Do not
// edit it: change the SQL and run "make gen". Every method takes the pool, a
// connection or a transaction as its second argument; who opened it decides
// when it ends.
package db
