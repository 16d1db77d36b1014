//go:build cgo

package store

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

// pageSize is SQLite's own choice.
const pageSize = 4096

// connect opens an existing file. synced makes every commit wait until it is safe on the disk.
func connect(path string, synced bool) (sqlConn, error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	path = filepath.Join(folder, filepath.Base(path))
	synchronous := "OFF"
	if synced {
		synchronous = "FULL"
	}
	address := url.URL{Scheme: "file", Path: path,
		RawQuery: "mode=rw&_mutex=no&_busy_timeout=0&_stmt_cache_size=16"}
	opened, err := new(sqlite3.SQLiteDriver).Open(address.String())
	if err != nil {
		return nil, err
	}
	conn, ok := opened.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, fmt.Errorf("driver of SQLite: %T", opened)
	}
	// SQLite follows a link that has taken the file's place. Before the first statement it has read
	// nothing, and has made no file beside another one.
	if conn.GetFilename("main") != path {
		_ = conn.Close()
		return nil, fmt.Errorf("%s is %w: %w", path, ErrDamaged, errForeignFile)
	}
	// The file may be somebody else's work: nothing in it is run, nothing in it is trusted. A log
	// of 100 pages is written back to the database: the next process after a crash reads it all.
	// Temporary files would be made outside of the folder, where a unit may not let it.
	_, err = conn.Exec("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; "+
		"PRAGMA wal_autocheckpoint = 100; PRAGMA journal_size_limit = 0; PRAGMA synchronous = "+synchronous, nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// keepLog makes the last process to close a database leave its log, empty. Otherwise it would
// remove it by name: where a damaged database was moved aside, that of another.
func keepLog(conn sqlConn) error {
	const persistWAL = 10 // SQLITE_FCNTL_PERSIST_WAL
	if conn, ok := conn.(*sqlite3.SQLiteConn); ok {
		return conn.SetFileControlInt("", persistWAL, 1)
	}
	return nil
}

// isBusy reports that another process holds a lock.
func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.Is(err, syscall.EWOULDBLOCK) || errors.As(err, &e) &&
		(e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked || e.Code == sqlite3.ErrProtocol)
}

// damageOf returns an ErrDamaged if that is what err means, nil otherwise.
func damageOf(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if errors.Is(err, ErrDamaged) {
		return err
	}
	return nil
}
