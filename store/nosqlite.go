//go:build !cgo

package store

import "errors"

const pageSize = 4096

func connect(string, bool) (sqlConn, error) {
	return nil, errors.New("this build has no cgo, and so no SQLite")
}

func keepLog(sqlConn) error { return nil }

func isBusy(error) bool { return false }

func damageOf(error) error { return nil }
