package store

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// lockTimeout is a thousand times what an update takes, and shorter than a client's timeout.
	// The holder of a lock may be stopped, or wait for a disk.
	lockTimeout = time.Second
	// keptTimeout is for updates of kept records: each waits for the disk, one after the other.
	keptTimeout = 10 * time.Second
	minPause    = 50 * time.Microsecond
	maxPause    = 5 * time.Millisecond
)

var errBusy = errors.New("locked for too long by another process")

// table is the schema of both databases, as SQLite keeps it. A new n for every update puts the
// least recently updated records first. Keys are readable, and so can be listed by prefix.
const table = "CREATE TABLE records (n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, " +
	"until INTEGER NOT NULL)"

// database is the Store of one kind of records in a folder. A process has one connection to it, and
// another one to read kept records: an update of them waits for the disk and for other processes.
type database struct {
	folder        *Folder
	name          string
	limit         int           // bytes; 0 = kept records
	updateTimeout time.Duration // how long an update waits for others

	reader *database     // of the same file; nil = this one
	slot   chan struct{} // full while one call uses what follows
	conn   sqlConn       // nil = not open
	opened []fs.FileInfo // of the files when conn was opened; nil = not there
	schema int64         // the number of the schema that was looked at; 0 = none was
}

// sqlConn is a connection of database/sql/driver. A pool of them would only be started to have one.
type sqlConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

func newDatabase(folder *Folder, name string, limit int) *database {
	d := &database{folder: folder, name: name, limit: limit, updateTimeout: lockTimeout, slot: make(chan struct{}, 1)}
	if limit == 0 {
		d.updateTimeout = keptTimeout
		reader := *d
		reader.slot = make(chan struct{}, 1)
		d.reader = &reader
	}
	return d
}

func (d *database) isKept() bool { return d.limit == 0 }

func (d *database) path() string { return filepath.Join(d.folder.path, d.name) }

func (d *database) Get(ctx context.Context, keys ...string) (values [][]byte, err error) {
	d = d.forReads()
	err = d.use(ctx, lockTimeout, "read", keys, func() error {
		old, err := d.find(keys)
		values = make([][]byte, len(old))
		for i, r := range old {
			values[i] = r.Value
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

func (d *database) Update(ctx context.Context, keys []string, change Change) error {
	return d.use(ctx, d.updateTimeout, verbUpdate, keys, func() error { return d.update(keys, change) })
}

func (d *database) List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	const page = 200
	type pair struct {
		key string
		Record
	}
	d = d.forReads()
	for from, more := prefix, true; more; {
		var found []pair
		err := d.use(ctx, lockTimeout, "list", nil, func() error {
			found = nil
			rows := "SELECT key, value, until FROM records WHERE key >= ? AND until > ? ORDER BY key LIMIT ?"
			return d.query(rows, func(row []driver.Value) {
				found = append(found, pair{string(bytesOf(row[0])), recordOf(row[1:])})
			}, []byte(from), d.folder.Now().UnixMilli(), int64(page))
		})
		if err != nil {
			return err
		}
		for _, f := range found {
			if !strings.HasPrefix(f.key, prefix) || !f.expired(d.folder.Now(), d.isKept()) && !visit(f.key, f.Record) {
				return nil
			}
			from = f.key + "\x00"
		}
		more = len(found) == page
	}
	return nil
}

// Close closes the connection; the next call opens another.
func (d *database) Close() error {
	d.slot <- struct{}{}
	defer func() { <-d.slot }()
	if d.reader != nil {
		return errors.Join(d.close(), d.reader.Close())
	}
	return d.close()
}

func (d *database) forReads() *database {
	if d.reader != nil {
		return d.reader
	}
	return d
}

// verbUpdate is that of the calls that write.
const verbUpdate = "update"

// use calls do in a transaction when no other call of this process uses the connection. While
// another process holds a lock it tries again, for timeout at most.
func (d *database) use(ctx context.Context, timeout time.Duration, verb string, keys []string, do func() error) error {
	if err := errors.Join(ctx.Err(), checkKeys(keys...)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errBusy)
	defer cancel()
	select {
	case d.slot <- struct{}{}:
		defer func() { <-d.slot }()
	case <-ctx.Done():
		return d.wrap(verb, context.Cause(ctx))
	}
	begin := "BEGIN"
	if verb == verbUpdate {
		begin = "BEGIN IMMEDIATE"
	}
	err := d.try(begin, do)
	for pause := minPause; isBusy(err); pause = min(2*pause, maxPause) {
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			err = d.try(begin, do)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return d.wrap(verb, err)
}

func (d *database) wrap(verb string, err error) error {
	if err == nil || errors.Is(err, ErrTooLong) {
		return err
	}
	return fmt.Errorf("%s %s: %w", verb, d.path(), err)
}

// try calls do once, and a second time if counters were damaged.
func (d *database) try(begin string, do func() error) error {
	err := d.ready()
	if err == nil {
		err = d.transaction(begin, do)
	}
	if damage := damageOf(err); damage != nil {
		var replaced bool
		if replaced, err = d.replace(damage); replaced && d.folder.Report != nil {
			d.folder.Report(damage)
		}
		if err == nil {
			err = d.ready()
		}
		if err == nil {
			err = d.transaction(begin, do)
		}
	}
	if err != nil && !isBusy(err) && !errors.Is(err, ErrTooLong) {
		_ = d.close() // what is wrong with it may be over for a new connection
	}
	return err
}

// ready opens the database unless it is open. Rights are looked at every time: a folder that was
// opened to others meanwhile is not used.
func (d *database) ready() error {
	if err := d.folder.check(); err != nil {
		return err
	}
	now, err := d.look()
	if err != nil {
		return err
	}
	if d.conn != nil && slices.EqualFunc(now, d.opened, isSame) {
		return nil
	}
	_ = d.close()
	if err = d.open(); err == nil {
		d.opened, err = d.look()
	}
	if err != nil {
		_ = d.close()
	}
	return err
}

// look returns what is known of the files; nil for one that is not there. A rollback journal is
// nobody's of dockerauth: what such a file names, SQLite would remove.
func (d *database) look() ([]fs.FileInfo, error) {
	_, err := os.Lstat(d.journal())
	switch {
	case err == nil:
		return nil, fmt.Errorf("%s is %w: %w", d.journal(), ErrDamaged, errForeignFile)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var found []fs.FileInfo
	for _, path := range d.files() {
		info, err := checkFile(path)
		if err != nil {
			return nil, err
		}
		found = append(found, info)
	}
	return found, nil
}

func isSame(a, b fs.FileInfo) bool {
	return a == nil && b == nil || a != nil && b != nil && os.SameFile(a, b)
}

// files are the database, its log and the memory that its processes share.
func (d *database) files() []string { return []string{d.path(), d.path() + "-wal", d.path() + "-shm"} }

func (d *database) journal() string { return d.path() + "-journal" }

func (d *database) open() error {
	root, lock, err := d.folder.open()
	if err != nil {
		return err
	}
	defer root.Close()
	defer lock.Close()
	if d.limit > 0 {
		if err := removeShards(root); err != nil {
			return err
		}
	}
	if d.opened, err = d.look(); err == nil && d.opened[0] == nil {
		if log := d.opened[1]; d.isKept() && log != nil && log.Size() > 0 {
			return fmt.Errorf("%w: the file is gone, and its log is not", ErrDamaged)
		}
		if err = d.create(root); err == nil {
			d.opened, err = d.look()
		}
	}
	if err != nil {
		return err
	}
	if d.conn, err = connect(d.path(), d.isKept()); err != nil {
		return err
	}
	return keepLog(d.conn)
}

// checkSchema finds what a statement would run besides: a trigger, or a view in the table's place.
// The owner of the folder may add one at any time, but not to what a transaction sees.
func (d *database) checkSchema() error {
	var version int64
	err := d.query("PRAGMA schema_version", func(row []driver.Value) { version, _ = row[0].(int64) })
	if err != nil || version != 0 && version == d.schema {
		return err
	}
	var schema []string
	err = d.query("SELECT coalesce(sql, name) FROM sqlite_schema", func(row []driver.Value) {
		schema = append(schema, string(bytesOf(row[0])))
	})
	if err == nil && !slices.Equal(schema, []string{table, "sqlite_autoindex_records_1"}) {
		err = errSchema
	}
	if err == nil {
		d.schema = version
	}
	return err
}

var errSchema = fmt.Errorf("%w: it is no database of this version of dockerauth", ErrDamaged)

// create makes a database under another name: one that is empty or half made is damaged.
func (d *database) create(root *os.Root) error {
	temporary := d.name + ".new"
	for _, name := range []string{temporary, temporary + "-journal", temporary + "-wal", temporary + "-shm",
		d.name + "-wal", d.name + "-shm"} {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	// SQLite gives its other files the mode of this one.
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if d.conn, err = connect(filepath.Join(d.folder.path, temporary), d.isKept()); err != nil {
		return err
	}
	if err := errors.Join(d.exec(table+"; PRAGMA journal_mode = WAL"), d.close()); err != nil {
		return err
	}
	if err := root.Rename(temporary, d.name); err != nil || d.limit > 0 {
		return err
	}
	// Without its new name on the disk, what is synced in the file is lost with the power.
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (d *database) close() error {
	if d.conn == nil {
		return nil
	}
	conn := d.conn
	d.conn, d.schema = nil, 0
	return conn.Close()
}

// replace moves damaged counters aside, unless another process has done so. Kept records are not
// given up: what one of them refuses would be let in.
func (d *database) replace(damage error) (replaced bool, err error) {
	if d.isKept() {
		return false, fmt.Errorf("%w\n  %s", damage, d.remedy(damage))
	}
	known := d.opened
	_ = d.close()
	root, lock, err := d.folder.open()
	if err != nil {
		return false, err
	}
	defer root.Close()
	defer lock.Close()
	if !d.isStill(known) {
		return false, nil
	}
	for _, path := range append(d.files(), d.journal()) {
		name := filepath.Base(path)
		aside := "damaged-" + name
		if err := root.RemoveAll(aside); err != nil {
			return false, err
		}
		if err := root.Rename(name, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

// remedy is what to do about kept records that cannot be used.
func (d *database) remedy(damage error) string {
	if !errors.As(damage, new(ownerError)) {
		return "move it and its -wal and -shm away: all its tokens end. After a restore from a backup instead, " +
			"run: dockerauth token revoke --all"
	}
	var paths []string
	for _, path := range d.files() {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, shellWord(path))
		}
	}
	words := strings.Join(paths, " ")
	return fmt.Sprintf("chown %d %s && chmod 600 %s; if it is from a backup, run after that: "+
		"dockerauth token revoke --all", os.Geteuid(), words, words)
}

// isStill reports whether the database that was damaged is still there.
func (d *database) isStill(known []fs.FileInfo) bool {
	now, err := d.look()
	return err != nil || len(known) > 0 && now[0] != nil && isSame(known[0], now[0])
}

// transaction calls do, and nothing of it happens if that fails.
func (d *database) transaction(begin string, do func() error) (err error) {
	if err := d.exec(begin); err != nil {
		return err
	}
	done := false
	defer func() { // also after a panic
		if !done {
			_ = d.exec("ROLLBACK")
		}
	}()
	if err := d.checkSchema(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	err = d.exec("COMMIT")
	done = err == nil
	return err
}

func (d *database) update(keys []string, change Change) error {
	now := d.folder.Now()
	old, err := d.find(keys)
	if err != nil {
		return err
	}
	records, differ, err := apply(change, old, now, d.isKept())
	if err != nil {
		return err
	}
	for i, key := range keys {
		switch r := records[i]; {
		case !differ[i]:
		case r.Value == nil:
			err = d.exec("DELETE FROM records WHERE key = ?", []byte(key))
		default:
			err = d.put(key, r, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find returns the records of keys.
func (d *database) find(keys []string) ([]Record, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	now, records := d.folder.Now(), make([]Record, len(keys))
	args := make([]driver.Value, len(keys))
	for i, key := range keys {
		args[i] = []byte(key)
	}
	rows := "SELECT key, value, until FROM records WHERE key IN (?" + strings.Repeat(", ?", len(keys)-1) + ")"
	return records, d.query(rows, func(row []driver.Value) {
		i := slices.Index(keys, string(bytesOf(row[0])))
		if r := recordOf(row[1:]); i >= 0 && !r.expired(now, d.isKept()) {
			records[i] = r
		}
	}, args...)
}

// tidyEvery is how many updates go by until one of them drops what is too old or too much.
const tidyEvery = 16

// put makes the record the most recent.
func (d *database) put(key string, r Record, now time.Time) error {
	var n int64
	err := d.query("REPLACE INTO records (key, value, until) VALUES (?, ?, ?) RETURNING n",
		func(row []driver.Value) { n, _ = row[0].(int64) }, []byte(key), r.Value, r.Until.UnixMilli())
	if err != nil || n%tidyEvery != 0 {
		return err
	}
	return d.tidy(now)
}

// tidy drops expired records among some, each time the next ones, so that it has looked at all
// before long; and the least recently updated counters while they take too much. The file has the
// place to go on from, in 32 bits, which are enough for 34,000,000,000 updates.
func (d *database) tidy(now time.Time) (err error) {
	const step, some = 16, int64(4 * tidyEvery)
	var from, last, count int64
	err = d.query("PRAGMA user_version", func(row []driver.Value) { from, _ = row[0].(int64) })
	if err != nil {
		return err
	}
	from *= step
	err = d.query("SELECT max(n), count(*) FROM (SELECT n FROM records WHERE n >= ? ORDER BY n LIMIT ?)",
		func(row []driver.Value) {
			last, _ = row[0].(int64)
			count, _ = row[1].(int64)
		}, from, some)
	if err != nil {
		return err
	}
	next := last / step
	if count < some || next > math.MaxInt32 {
		next = 0
	}
	if err := d.exec(fmt.Sprintf("PRAGMA user_version = %d", next)); err != nil {
		return err
	}
	past, future := now, now.Add(MaxKeep)
	if d.isKept() { // the clock may be wrong
		past, future = now.Add(-keptGrace), time.UnixMilli(math.MaxInt64)
	}
	err = d.exec("DELETE FROM records WHERE n BETWEEN ? AND ? AND (until <= ? OR until > ?)",
		from, last, past.UnixMilli(), future.UnixMilli())
	if err != nil || d.isKept() {
		return err
	}
	used, err := d.used()
	if err != nil || used <= int64(d.limit/pageSize) {
		return err
	}
	return d.exec("DELETE FROM records WHERE n IN (SELECT n FROM records ORDER BY n LIMIT ?)", some)
}

// used returns the pages that hold records.
func (d *database) used() (pages int64, err error) {
	for pragma, sign := range map[string]int64{"page_count": 1, "freelist_count": -1} {
		err = errors.Join(err, d.query("PRAGMA "+pragma, func(row []driver.Value) {
			n, _ := row[0].(int64)
			pages += sign * n
		}))
	}
	return pages, err
}

func (d *database) exec(statement string, args ...driver.Value) error {
	_, err := d.conn.ExecContext(context.Background(), statement, named(args))
	return err
}

// query calls visit for each row. What is in it is overwritten by the next.
func (d *database) query(statement string, visit func([]driver.Value), args ...driver.Value) error {
	rows, err := d.conn.QueryContext(context.Background(), statement, named(args))
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	for err = rows.Next(row); err == nil; err = rows.Next(row) {
		visit(row)
	}
	if !errors.Is(err, io.EOF) {
		_ = rows.Close()
		return err
	}
	return rows.Close()
}

func named(args []driver.Value) []driver.NamedValue {
	list := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		list[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return list
}

// recordOf reads value and until. What has another type in a file of somebody else's is no record.
func recordOf(row []driver.Value) Record {
	until, _ := row[1].(int64)
	return Record{bytes.Clone(bytesOf(row[0])), time.UnixMilli(until)}
}

func bytesOf(v driver.Value) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}
