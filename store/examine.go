package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// CheckKept says why kept records cannot be used, also those that no request has asked for yet. It
// makes no database.
func (f *Folder) CheckKept(ctx context.Context) error {
	if found, err := f.kept.look(); err == nil && found[0] == nil && found[1] == nil {
		return f.check()
	}
	return f.kept.use(ctx, keptTimeout, "check", nil, func() error {
		var faults []string
		err := f.kept.query("PRAGMA quick_check(3)", func(row []driver.Value) {
			if fault := string(bytesOf(row[0])); fault != "ok" {
				faults = append(faults, fault)
			}
		})
		if err == nil && len(faults) > 0 {
			err = fmt.Errorf("%w: %s", ErrDamaged, strings.Join(faults, "; "))
		}
		return err
	})
}

// CheckKept says why the server is not fit for kept records.
func (r *Redis) CheckKept(ctx context.Context) error {
	s := redisStore{r, keptKeys}
	return s.use(ctx, "check", nil, func(ctx context.Context) error {
		var server *redis.StringCmd
		if err := r.atMaster(ctx, func(p redis.Pipeliner) { server = p.Info(ctx, "server") }); err != nil {
			return err
		}
		version := parseInfo(server.Val())["redis_version"] // Valkey says which of Redis it is like
		var major, minor int
		_, _ = fmt.Sscanf(version, "%d.%d", &major, &minor)
		if major < 6 || major == 6 && minor < 2 {
			return answerError("its version is " + strconv.Quote(version) + ", and 6.2 is the earliest\n  update it")
		}
		_, _, err := s.read(ctx, nil)
		return err
	})
}

// CheckDurable says what a server loses that is killed; "" = nothing. The error is that of a server
// that cannot be asked.
func (r *Redis) CheckDurable(ctx context.Context) (loses string, err error) {
	s := redisStore{r, keptKeys}
	err = s.use(ctx, "check", nil, func(ctx context.Context) error {
		var persistence *redis.StringCmd
		err := r.atMaster(ctx, func(p redis.Pipeliner) { persistence = p.Info(ctx, "persistence") })
		if err != nil {
			return err
		}
		switch info := parseInfo(persistence.Val()); info["aof_enabled"] {
		case "1":
			return nil
		case "0":
		default:
			return answerError("it does not say aof_enabled")
		}
		loses = "what it got since its last snapshot"
		var save *redis.MapStringStringCmd
		err = r.atMaster(ctx, func(p redis.Pipeliner) { save = p.ConfigGet(ctx, "save") })
		if err == nil && save.Val()["save"] == "" {
			loses = "everything"
		}
		return nil // without the right to ask, the first is true at least
	})
	return loses, err
}
