package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// HasKept reports that there is something in the place of kept records, good or bad.
func (f *Folder) HasKept() bool {
	found, err := f.kept.look()
	return err != nil || found[0] != nil || found[1] != nil
}

// CheckKept says why kept records cannot be used, also those that no request has asked for yet. It
// makes no database.
func (f *Folder) CheckKept(ctx context.Context) error {
	if !f.HasKept() {
		return f.check()
	}
	kept := f.kept.forReads()
	return kept.use(ctx, keptTimeout, "check", nil, func() error {
		var faults []string
		err := kept.query("PRAGMA quick_check(3)", func(row []driver.Value) {
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
		aof := parseInfo(persistence.Val())["aof_enabled"]
		if aof != "0" && aof != "1" {
			return answerError("it does not say aof_enabled")
		}
		config := map[string]string{}
		for _, name := range []string{"save", "appendfsync"} {
			var value *redis.MapStringStringCmd
			err := r.atMaster(ctx, func(p redis.Pipeliner) { value = p.ConfigGet(ctx, name) })
			if err != nil {
				config[name] = "unknown" // it does not let its user ask
				continue
			}
			config[name] = value.Val()[name]
		}
		switch {
		case aof == "0" && config["save"] == "":
			loses = "everything"
		case aof == "0":
			loses = "what it got since its last snapshot"
		case config["appendfsync"] != "always" && config["appendfsync"] != "unknown":
			loses = "what it got in the last seconds"
		}
		return nil
	})
	return loses, err
}
