package service

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"dockerauth/handler"
)

// watchInterval is between two looks at the files, which must agree. A stat of four files a
// second costs nothing; inotify would miss files behind a symlink that is swapped.
const watchInterval = time.Second

// retryPause is how many times as long as a failed load took to wait until the
// next: a large file with a mistake in it must not keep a core busy.
const retryPause = 20

// live answers with the newest good configuration. When a file changes it
// loads anew; when that fails it keeps what it had and says so once.
type live struct {
	load   func() (*service, error)
	stderr *lines
	begin  func(*service) // called with each service that takes over; nil = nothing to do

	figures *figures // nil in the CGI door, whose processes have nothing to count

	current atomic.Pointer[service]    // nil until a configuration was good
	failed  atomic.Pointer[loadFailed] // nil = the last load was good
	seen    []stamp                    // of the files behind current, or behind the last failure
	looked  []stamp                    // of the same, at the last look
	failure string                     // what the last load said when it was reported, "" = it was good
	retry   time.Time                  // not before, after a failure
}

// loadFailed is the error of the last load, for whoever asks from outside.
type loadFailed struct{ err error }

func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := l.current.Load()
	if s == nil {
		handler.OutOfOrder(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// log is where the service writes at this moment.
func (l *live) log() *slog.Logger {
	if s := l.current.Load(); s != nil {
		return s.log
	}
	return plainLogger(l.stderr)
}

// out is where log writes.
func (l *live) out() *lines {
	if s := l.current.Load(); s != nil {
		return s.out
	}
	return l.stderr
}

// watch reloads when a file changed or a signal asks for it, until ctx is done.
func (l *live) watch(ctx context.Context, hangup <-chan os.Signal) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			l.report(l.reload())
		case <-ticker.C:
			if l.due() {
				l.report(l.reload())
			}
		}
	}
}

// reload puts a new service in place. On error the old one stays.
func (l *live) reload() error {
	began := time.Now()
	s, err := l.load()
	if err != nil {
		l.failed.Store(&loadFailed{err})
		l.seen = l.stamps()
		l.retry = time.Now().Add(retryPause * time.Since(began))
		return err
	}
	l.current.Store(s)
	l.failed.Store(nil)
	l.seen = l.stamps()
	if changedSince(l.seen, began) {
		l.seen = nil // perhaps after it was read: it is read once more
	}
	if l.begin != nil {
		l.begin(s)
	}
	return nil
}

// report logs what a reload came to: a failure once, however often it is met.
func (l *live) report(err error) {
	if err == nil {
		l.failure = ""
		l.log().Info("configuration loaded")
		return
	}
	if err.Error() == l.failure {
		return
	}
	l.failure = err.Error()
	message := "configuration is not usable, the last good one stays in force"
	if l.current.Load() == nil {
		message = "configuration is not usable, every request is answered with 503"
	}
	l.log().Error(message, "reason", l.failure)
}

// due reports that there is something to load. A file that still changes is
// left alone: the first half of a config.yml that is written in place may be
// one that lets everybody in.
func (l *live) due() bool {
	now := l.stamps()
	settled := slices.Equal(now, l.looked)
	l.looked = now
	if !settled {
		return false
	}
	// After a failure the cause may lie in a file that the last good
	// configuration does not name, so it is tried again and again.
	return l.failure != "" && time.Now().After(l.retry) || !slices.Equal(now, l.seen)
}

// changedSince reports a file that was written while it was being read. One
// from the future says nothing: somebody has set the clock.
func changedSince(stamps []stamp, began time.Time) bool {
	const grain = 10 * time.Millisecond // of the kernel's clock for files
	now := time.Now()
	return slices.ContainsFunc(stamps, func(s stamp) bool {
		return s.modified.After(began.Add(-grain)) && !s.modified.After(now)
	})
}

// stamp is what of a file tells that it is another one now.
type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
	mode          os.FileMode
}

// stamps looks at every file behind the current configuration. The log is
// looked at for having been rotated away only.
func (l *live) stamps() []stamp {
	s := l.current.Load()
	if s == nil {
		return nil
	}
	var all []stamp
	for _, path := range s.config.Files {
		all = append(all, stampOf(path))
	}
	if path := s.config.Log.File; path != "" {
		log := stampOf(path)
		all = append(all, stamp{device: log.device, inode: log.inode})
	}
	return all
}

// stampOf is the zero stamp for a file that is not there.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{size: info.Size(), modified: info.ModTime(), mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(sys.Dev), sys.Ino // Dev is narrower on some systems
	}
	return s
}

// liveLog writes to wherever the service logs at the moment of writing.
type liveLog struct{ *live }

func (l liveLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.log().Enabled(ctx, level)
}

func (l liveLog) Handle(ctx context.Context, record slog.Record) error {
	return l.log().Handler().Handle(ctx, record)
}

func (l liveLog) WithAttrs(attrs []slog.Attr) slog.Handler { return l.log().Handler().WithAttrs(attrs) }

func (l liveLog) WithGroup(name string) slog.Handler { return l.log().Handler().WithGroup(name) }
