package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"dockerauth/handler"
	"dockerauth/store"
)

// watchInterval is between two looks at the files, which must agree. A stat of four files a second
// costs nothing; inotify would miss files behind a symlink that is swapped.
const watchInterval = time.Second

// retryPause is how many times as long as a failed load took to wait until the next: a large file
// with a mistake in it must not keep a core busy.
const retryPause = 20

// reloader answers with the newest good configuration. When a file changes it loads it; when that
// fails it keeps the last good one and says so once.
type reloader struct {
	load     func(previous *service) (*service, error)
	stderr   *logWriter
	onReload func(*service) // called with each service that takes over; nil = nothing to do

	state   *state     // nil in a test that needs none
	metrics *metricSet // nil in a CGI program, which has nothing to count

	current    atomic.Pointer[service]   // nil until a configuration was good
	failed     atomic.Pointer[loadError] // nil = the last load was good
	loaded     []fileState               // of the files behind current, or behind the last failure
	lastLook   []fileState               // of the same
	lastReport string                    // of the last load's error; "" = it was good
	retry      time.Time                 // not before, after a failure
	rotated    bool                      // the log was, at the last look
}

// loadError is the error of the last load, for health and metrics.
type loadError struct{ err error }

func (r *reloader) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s := r.current.Load()
	if s == nil {
		handler.Unavailable(w, q)
		return
	}
	s.handler.ServeHTTP(w, q)
}

// trusts asks the configuration in force about a proxy.
func (r *reloader) trusts(peer netip.Addr) bool {
	s := r.current.Load()
	return s != nil && s.config.TrustedProxies.Trust(peer)
}

// log is where the service writes at this moment.
func (r *reloader) log() *slog.Logger {
	if s := r.current.Load(); s != nil {
		return s.log
	}
	return plainLogger(r.stderr)
}

// logWriter is what log writes to.
func (r *reloader) logWriter() *logWriter {
	if s := r.current.Load(); s != nil {
		return s.out
	}
	return r.stderr
}

// watch reloads, and reopens the log, when a file changed or a signal asks for it, until ctx is
// done.
func (r *reloader) watch(ctx context.Context, signals <-chan os.Signal) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			r.signalled(s)
		case <-ticker.C:
			r.look()
		}
	}
}

// signalled reloads on SIGHUP. Any signal reopens the log.
func (r *reloader) signalled(s os.Signal) {
	if s != syscall.SIGHUP {
		r.reopenLog()
		return
	}
	err := r.reload()
	r.forget()
	r.reopenLog()
	r.report(err)
}

// forget drops the remembered logins. An administrator who asks for a reload may have changed what
// no file of the PAM service shows, such as an account or a file that a module reads.
func (r *reloader) forget() {
	if s := r.current.Load(); s != nil && s.pam != nil {
		s.pam.forget()
	}
}

// look acts on what has changed since the last look.
func (r *reloader) look() {
	if s := r.current.Load(); s != nil && s.pam != nil {
		s.pam.refresh(r.log())
	}
	if r.shouldReload() {
		r.report(r.reload())
	}
	rotated := r.openLog() != nil && r.openLog().isRotated()
	if rotated && r.rotated { // twice: what renames the file may make the new one itself
		r.reopenLog()
	}
	r.rotated = rotated
}

// openLog is the log file that is open; nil = none.
func (r *reloader) openLog() *logWriter {
	if out := r.logWriter(); out != r.stderr {
		return out
	}
	return nil
}

// reopenLog begins a new log file of the same name. It logs a failure once, in the old one.
func (r *reloader) reopenLog() {
	out := r.openLog()
	if out == nil {
		return
	}
	failed := out.isUnreopened()
	switch err := out.reopen(); {
	case err == nil:
		r.log().Info("log file opened")
	case !failed:
		r.log().Error("log file cannot be opened again, the log goes on in the old one",
			"reason", err.Error()+"\n  "+RemedyForLog(err))
	}
}

// reload puts a new service in place. On error the old one stays.
func (r *reloader) reload() error {
	began := time.Now()
	s, err := r.load(r.current.Load())
	if err != nil {
		r.failed.Store(&loadError{err})
		r.loaded = r.fileStates()
		r.retry = time.Now().Add(retryPause * time.Since(began))
		return err
	}
	r.current.Store(s)
	if s.pam != nil {
		s.pam.slots.Resize(s.config.PAM.Concurrency)
	}
	r.failed.Store(nil)
	r.loaded = r.fileStates()
	if changedSince(r.loaded, began) {
		r.loaded = nil // perhaps after it was read: it is read once more
	}
	if r.onReload != nil {
		r.onReload(s)
	}
	return nil
}

// report logs what a reload came to. It logs a failure once, however often it is met.
func (r *reloader) report(err error) {
	if err == nil {
		r.lastReport = ""
		r.log().Info("configuration loaded")
		return
	}
	if err.Error() == r.lastReport {
		return
	}
	r.lastReport = err.Error()
	message := "configuration is not usable, the last good one stays in force"
	if r.current.Load() == nil {
		message = "configuration is not usable, every request is answered with 503"
	}
	r.log().Error(message, "reason", r.lastReport)
}

// shouldReload reports that there is something to load. It waits while a file still changes: the
// first half of a config.yml that is written in place may be one that lets everybody in.
func (r *reloader) shouldReload() bool {
	now := r.fileStates()
	settled := slices.Equal(now, r.lastLook)
	r.lastLook = now
	if !settled {
		return false
	}
	// After a failure the cause may lie in a file that the last good configuration does not name,
	// so each look tries again.
	return r.lastReport != "" && time.Now().After(r.retry) || !slices.Equal(now, r.loaded)
}

// fileStates looks at every file behind the current configuration, and at a log file that could not
// be opened.
func (r *reloader) fileStates() []fileState {
	s := r.current.Load()
	if s == nil {
		return nil
	}
	var all []fileState
	for _, path := range append(s.config.Files(), store.RedisFiles(s.config.State)...) {
		all = append(all, stateOf(path))
	}
	if path := s.config.Log.File; path != "" && s.out == r.stderr {
		log := stateOf(path)
		all = append(all, fileState{device: log.device, inode: log.inode})
	}
	return all
}

// reloadHandler is a slog.Handler that writes to the log of the moment.
type reloadHandler struct {
	*reloader
	with func(slog.Handler) slog.Handler // adds attributes and groups; nil = none
}

func (h reloadHandler) handler() slog.Handler {
	if h.with == nil {
		return h.log().Handler()
	}
	return h.with(h.log().Handler())
}

func (h reloadHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.log().Enabled(ctx, level)
}

func (h reloadHandler) Handle(ctx context.Context, record slog.Record) error {
	return h.handler().Handle(ctx, record)
}

func (h reloadHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.then(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

func (h reloadHandler) WithGroup(name string) slog.Handler {
	return h.then(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h reloadHandler) then(add func(slog.Handler) slog.Handler) slog.Handler {
	before := h.with
	return reloadHandler{h.reloader, func(next slog.Handler) slog.Handler {
		if before != nil {
			next = before(next)
		}
		return add(next)
	}}
}
