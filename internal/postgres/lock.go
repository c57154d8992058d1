package postgres

// LockTimedOut says whether err is a wait for a lock that was longer than
// lock_timeout allows (SQLSTATE 55P03).
func LockTimedOut(err error) bool { return sqlState(err) == "55P03" }
