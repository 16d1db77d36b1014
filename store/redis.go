package store

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Redis keeps records for all processes of all machines, in Valkey or Redis. All keys begin with
// the same hash tag, so that a Cluster has them in one place and can change several together.
type Redis struct {
	Now    func() time.Time
	client redis.UniversalClient
}

// redisTimeout is for one command, and for connecting: with a repetition both are over within
// lockTimeout.
const redisTimeout = 400 * time.Millisecond

// OpenRedis returns the stores behind an address; it does not connect yet. The address is
//
//	redis://[USER@]HOST[:PORT][,HOST[:PORT]…][/DATABASE][?SETTING=VALUE…]
//
// or rediss:// with TLS. Settings are password_file; master, the name of one that the hosts are the
// Sentinels of, and sentinel_password_file; cluster=yes, if the hosts are those of a Cluster; and
// for TLS the files ca, certificate and key.
func OpenRedis(address string) (*Redis, error) {
	o, err := redisOptions(address)
	if err != nil {
		return nil, fmt.Errorf("address of state: %w", err)
	}
	logging.Disable() // it would write to stderr, the web server's log
	return &Redis{Now: time.Now, client: redis.NewUniversalClient(o)}, nil
}

func redisOptions(address string) (*redis.UniversalOptions, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	hosts, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		hosts, path = rest[:i], rest[i:]
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, errors.New("not redis://HOST:PORT/DATABASE?SETTING=VALUE")
	}
	o := &redis.UniversalOptions{
		Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DialTimeout:              redisTimeout, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout,
		PoolTimeout:   redisTimeout,
		DialerRetries: 1, MaxRetries: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 10 * time.Millisecond,
	}
	if user, more, found := strings.Cut(hosts, "@"); found {
		hosts = more
		if strings.Contains(user, ":") { // not quoted: it is a password
			return nil, errors.New(
				"a password stands in it\n  write it to a file, and name that with ?password_file=PATH",
			)
		}
		o.Username = user
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			return nil, errors.New("a host is missing")
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "6379")
		}
		o.Addrs = append(o.Addrs, host)
	}
	if database := strings.Trim(u.Path, "/"); database != "" {
		if _, err := fmt.Sscanf(database+" ", "%d ", &o.DB); err != nil {
			return nil, fmt.Errorf("%q is no number of a database", database)
		}
	}
	return o, redisSettings(o, u.Query(), scheme == "rediss")
}

func redisSettings(o *redis.UniversalOptions, settings url.Values, secure bool) error {
	var files = map[string]string{}
	for name, values := range settings {
		value := values[len(values)-1]
		switch name {
		case "password_file", "sentinel_password_file", "ca", "certificate", "key":
			if !secure && !strings.HasSuffix(name, "_file") {
				return fmt.Errorf("%s is for rediss://", name)
			}
			text, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			files[name] = string(text)
		case "master":
			o.MasterName = value
		case "cluster":
			o.IsClusterMode = value == "yes"
		default:
			return fmt.Errorf("unknown setting %q", name)
		}
	}
	o.Password = strings.TrimRight(files["password_file"], "\r\n")
	o.SentinelPassword = strings.TrimRight(files["sentinel_password_file"], "\r\n")
	if !secure {
		return nil
	}
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca, named := files["ca"]; named {
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if !o.TLSConfig.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return errors.New("ca: no certificate in the file")
		}
	}
	if files["certificate"] != "" || files["key"] != "" {
		pair, err := tls.X509KeyPair([]byte(files["certificate"]), []byte(files["key"]))
		if err != nil {
			return fmt.Errorf("certificate and key: %w", err)
		}
		o.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// Counters is the store for records that may be forgotten.
func (r *Redis) Counters() Store { return redisStore{r, "{dockerauth}:counter:"} }

// Kept is the store for records that may not. What the server does with them is its
// configuration's: appendfsync, and no eviction.
func (r *Redis) Kept() Store { return redisStore{r, "{dockerauth}:kept:"} }

// Close closes all connections.
func (r *Redis) Close() error { return r.client.Close() }

// redisStore is the Store of one kind of records. A value there is the expiry in milliseconds since
// 1970, 8 bytes, and the record's.
type redisStore struct {
	*Redis
	prefix string
}

// swap changes all keys if their values are still the old ones. For each key the arguments are the
// old value, the new one and its expiry; "" is none, and an expiry of "" leaves it as it is.
var swap = redis.NewScript(`
for i, key in ipairs(KEYS) do
	if (redis.call('GET', key) or '') ~= ARGV[3*i-2] then return 0 end
end
for i, key in ipairs(KEYS) do
	if ARGV[3*i] == '' then
	elseif ARGV[3*i-1] == '' then redis.call('DEL', key)
	else redis.call('SET', key, ARGV[3*i-1], 'PXAT', ARGV[3*i]) end
end
return 1`)

func (s redisStore) Get(ctx context.Context, keys ...string) (values [][]byte, err error) {
	err = s.use(ctx, "read", keys, func(ctx context.Context) error {
		records, _, err := s.find(ctx, keys)
		values = make([][]byte, len(records))
		for i, r := range records {
			values[i] = r.Value
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

func (s redisStore) Update(ctx context.Context, keys []string, change Change) error {
	return s.use(ctx, "update", keys, func(ctx context.Context) error {
		for pause := minPause; ; pause = min(2*pause, maxPause) {
			done, err := s.swap(ctx, keys, change)
			if done || err != nil {
				return err
			}
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
}

// swap reports whether no other update came in between.
func (s redisStore) swap(ctx context.Context, keys []string, change Change) (done bool, err error) {
	old, raw, err := s.find(ctx, keys)
	if err != nil {
		return false, err
	}
	records, differ, err := apply(change, old, s.Now())
	if err != nil || !slices.Contains(differ, true) {
		return err == nil, err
	}
	var args []any
	for i, r := range records {
		until := ""
		if differ[i] {
			until = fmt.Sprint(r.Until.UnixMilli())
		}
		args = append(args, raw[i], encodeRedis(r), until)
	}
	n, err := swap.Run(ctx, s.client, s.names(keys), args...).Int()
	return n == 1, err
}

func (s redisStore) List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	var keys []string
	err := s.use(ctx, "list", nil, func(ctx context.Context) (err error) {
		keys, err = s.keys(ctx, prefix)
		return err
	})
	const page = 200
	for ; err == nil && len(keys) > 0; keys = keys[min(page, len(keys)):] {
		some := keys[:min(page, len(keys))]
		var records []Record
		err = s.use(ctx, "list", nil, func(ctx context.Context) (err error) {
			records, _, err = s.find(ctx, some)
			return err
		})
		for i, r := range records {
			if r.Value != nil && !visit(some[i], r) {
				return nil
			}
		}
	}
	return err
}

// keys returns those that begin with a prefix.
func (s redisStore) keys(ctx context.Context, prefix string) (keys []string, err error) {
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s.prefix + prefix)
	scan := func(ctx context.Context, c redis.Cmdable) error {
		found := c.Scan(ctx, 0, pattern+"*", 1000).Iterator()
		for found.Next(ctx) {
			keys = append(keys, strings.TrimPrefix(found.Val(), s.prefix))
		}
		return found.Err()
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		master, err := cluster.MasterForKey(ctx, s.prefix)
		if err != nil {
			return nil, err
		}
		err = scan(ctx, master)
		slices.Sort(keys)
		return slices.Compact(keys), err
	}
	err = scan(ctx, s.client)
	slices.Sort(keys)
	return slices.Compact(keys), err
}

// find returns records, and their values as the server has them.
func (s redisStore) find(ctx context.Context, keys []string) (records []Record, raw []string, err error) {
	records, raw = make([]Record, len(keys)), make([]string, len(keys))
	if len(keys) == 0 {
		return records, raw, nil
	}
	values, err := s.client.MGet(ctx, s.names(keys)...).Result()
	if err != nil {
		return nil, nil, err
	}
	now := s.Now()
	for i, v := range values {
		raw[i], _ = v.(string)
		if r := decodeRedis(raw[i]); !r.expired(now) {
			records[i] = r
		}
	}
	return records, raw, nil
}

func (s redisStore) names(keys []string) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.prefix + key
	}
	return names
}

// use bounds the time that a call takes, whatever the server does.
func (s redisStore) use(ctx context.Context, verb string, keys []string, do func(context.Context) error) error {
	if err := errors.Join(ctx.Err(), checkKeys(keys...)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errBusy)
	defer cancel()
	err := do(ctx)
	switch {
	case err == nil || errors.Is(err, ErrTooLong):
		return err
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = errors.New("connection closed")
	}
	return fmt.Errorf("%s records at the state server: %w", verb, err)
}

func encodeRedis(r Record) string {
	if r.Value == nil {
		return ""
	}
	return string(append(binary.BigEndian.AppendUint64(nil, uint64(r.Until.UnixMilli())), r.Value...))
}

// decodeRedis returns no record for a value that is not one.
func decodeRedis(raw string) Record {
	if len(raw) < 8 {
		return Record{}
	}
	b := []byte(raw)
	return Record{bytes.Clone(b[8:]), time.UnixMilli(int64(binary.BigEndian.Uint64(b)))}
}
