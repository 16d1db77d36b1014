package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Redis keeps records for all processes of all machines, in Valkey or Redis. All keys begin with
// the same hash tag, so that a Cluster has them in one place and can change several together.
//
// The server drops counters some time after their end, and the least important ones when it is
// full. Kept records have no end at the server, so that no policy volatile-* evicts them; a server
// that evicts any key is refused for them. They are read at the master alone, and an update returns
// when a replica has it, if there is one.
//
// After an error of Update the new records may be there: the answer was lost, or no replica
// confirmed them. It can be repeated.
type Redis struct {
	Now func() time.Time

	client     redis.UniversalClient
	address    redisAddress
	contenders chan struct{} // full while one call repeats an update that others came between

	mu       sync.Mutex
	away     error     // why the server did not answer
	awayTill time.Time // until then it is not asked again
	slowTill time.Time // until then it is not asked for counters
	fitTill  time.Time // until then it is known to evict no kept records
}

const (
	// awayPause is how long a server that did not answer is not asked. A login makes several calls,
	// and waits for one.
	awayPause = time.Second
	// slowAnswer is what a call for counters takes of a server that is too slow for them: a login
	// makes several, and waits for all of them.
	slowAnswer = 250 * time.Millisecond
	// fitPeriod is how long the server's policy of eviction is taken for what it was.
	fitPeriod = 10 * time.Second
	// replicaTimeout is for a replica to confirm an update of kept records. It is over before
	// lockTimeout.
	replicaTimeout = 600 * time.Millisecond
	// counterSlack is how much longer than its record a key of the server lives. The machines'
	// clocks decide when the record ends.
	counterSlack = time.Minute
	// tidyKeys is how many kept records one update in tidyEvery looks at.
	tidyKeys = 4 * tidyEvery
)

// answerError is an error of a server that has answered.
type answerError string

func (e answerError) Error() string { return string(e) }

const (
	errContended   = answerError("others change the same records all the time")
	errReplica     = answerError("it is a replica\n  name the master in state, or the Sentinels with master=NAME")
	errUnconfirmed = answerError("the master has it, and no replica has confirmed it\n  repeat it")
	errNoPolicy    = answerError("it does not say its maxmemory_policy\n  use Valkey, or Redis 6.2 or later")
)

var (
	errNoAnswer = errors.New("no answer in time")
	errNoTLS    = errors.New("no answer in time: the server may not speak TLS at this port")
	errSlow     = fmt.Errorf("it is too slow for counters: a call took more than %s", slowAnswer)
)

// OpenRedis returns the stores behind an address; it does not connect yet. The address is
//
//	redis://[USER@]HOST[:PORT][,HOST[:PORT]…][/DATABASE][?SETTING=VALUE…]
//
// or rediss:// with TLS. Settings are password_file; master, the name of one that the hosts are the
// Sentinels of, and sentinel_password_file; cluster=yes, if the hosts are those of a Cluster; and
// for TLS the files ca, certificate and key. Paths are absolute.
func OpenRedis(address string) (*Redis, error) {
	parsed, err := parseRedis(address)
	if err != nil {
		return nil, fmt.Errorf("address of state: %w", err)
	}
	disableLog()
	return &Redis{Now: time.Now, client: redis.NewUniversalClient(parsed.options), address: parsed,
		contenders: make(chan struct{}, 1)}, nil
}

// disableLog keeps the client library from writing to stderr, the web server's log. A client that
// is open already reads what this sets.
var disableLog = sync.OnceFunc(logging.Disable)

// HasFilesOf reports whether the files that the address names hold what they hold for other.
func (r *Redis) HasFilesOf(other *Redis) bool { return r.address.files == other.address.files }

// All keys of the server. The index has the names of all kept records, in order: a scan would read
// the keys of all programs, and miss some if another server becomes the master meanwhile.
const (
	redisPrefix  = "{dockerauth}:"
	counterKeys  = redisPrefix + "counter:"
	keptKeys     = redisPrefix + "kept:"
	keptIndex    = redisPrefix + "index"
	confirmedKey = redisPrefix + "confirmed" // changed for a replica to confirm what was there before
)

// RedisRights are what the user of the server's ACL needs.
const RedisRights = "~" + redisPrefix + "* +mget +set +del +zadd +zrem +zrange +zrandmember +eval +evalsha " +
	"+scan +info +wait +select +cluster|slots +cluster|shards"

// Counters is the store for records that may be forgotten.
func (r *Redis) Counters() Store { return redisStore{r, counterKeys} }

// Kept is the store for records that may not.
func (r *Redis) Kept() Store { return redisStore{r, keptKeys} }

// Close closes all connections.
func (r *Redis) Close() error { return r.client.Close() }

// redisStore is the Store of one kind of records. A value at the server is the expiry in
// milliseconds since 1970, 8 bytes; a number that no other update has, 8 bytes; and the record's.
type redisStore struct {
	*Redis
	prefix string
}

func (s redisStore) isKept() bool { return s.prefix == keptKeys }

// swap changes all records if their values are still the old ones, and returns 1; otherwise it
// returns the values. KEYS are the records', and for kept ones keptIndex and confirmedKey. ARGV are
// the number of records; for each the old value, the new one and the milliseconds that it lives,
// where "" is no value and no change; and a value for confirmedKey.
//
// A client repeats a call whose answer was lost: values that are the new ones already were written
// by this update.
const swap = `
local n, confirm = tonumber(ARGV[1]), ARGV[#ARGV]
local index = KEYS[n+1]
local asOld, asNew, written = true, true, false
local now = redis.call('MGET', unpack(KEYS, 1, n))
for i = 1, n do
	local value, old, new, life = now[i] or '', ARGV[3*i-1], ARGV[3*i], ARGV[3*i+1]
	if value ~= old then asOld = false end
	if life ~= '' then
		if value ~= new then asNew = false elseif new ~= '' then written = true end
	end
end
if not asOld and not (asNew and written) then return now end
for i = 1, n do
	local key, new, life = KEYS[i], ARGV[3*i], ARGV[3*i+1]
	if asOld and life ~= '' then
		if new == '' then
			redis.call('DEL', key)
			if index then redis.call('ZREM', index, key) end
		elseif index then
			redis.call('ZADD', index, 0, key)
			redis.call('SET', key, new)
		else
			redis.call('SET', key, new, 'PX', life)
		end
	end
end
if index then redis.call('SET', KEYS[n+2], confirm) end
return 1`

var swapScript = sync.OnceValue(func() *redis.Script { return redis.NewScript(swap) })

func (s redisStore) Get(ctx context.Context, keys ...string) (values [][]byte, err error) {
	err = s.use(ctx, "read", keys, func(ctx context.Context) error {
		defer s.noteSlow(time.Now())
		raw, _, err := s.read(ctx, keys)
		values = make([][]byte, len(raw))
		for i, r := range s.decode(raw) {
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
		began := time.Now()
		raw, replicas, err := s.read(ctx, keys)
		contended := false
		for err == nil {
			records, differ, failed := apply(change, s.decode(raw), s.Now(), s.isKept())
			if failed != nil {
				return failed
			}
			if !slices.Contains(differ, true) && replicas == 0 {
				return nil // otherwise a replica may not have it yet: the caller may be repeating
			}
			var now []string
			now, err = s.swap(ctx, keys, raw, records, differ, replicas)
			if !contended { // which takes time too
				s.noteSlow(began)
			}
			if err == nil && now == nil {
				s.tidySometimes(ctx)
				return nil
			}
			if err == nil && !contended {
				contended = true
				select {
				case s.contenders <- struct{}{}:
					defer func() { <-s.contenders }()
				case <-ctx.Done():
					return errContended
				}
			}
			raw = now // of a moment ago, if it had to wait: then the next try brings newer ones
		}
		if contended && ctx.Err() != nil {
			return errContended
		}
		return err
	})
}

// swap makes a change, unless another one came in between: then it returns the values of now.
func (s redisStore) swap(ctx context.Context, keys, raw []string, records []Record, differ []bool,
	replicas int) (now []string, err error) {
	names, args := s.names(keys), []any{len(keys)}
	mark := binary.BigEndian.AppendUint64(nil, rand.Uint64())
	for i, r := range records {
		life := ""
		if differ[i] {
			life = fmt.Sprint((min(r.Until.Sub(s.Now()), MaxKeep) + counterSlack).Milliseconds())
		}
		args = append(args, raw[i], encodeRedis(r, mark), life)
	}
	if args = append(args, mark); !s.isKept() {
		return swapped(swapScript().Run(ctx, s.client, names, args...))
	}
	var done *redis.Cmd
	var confirmed *redis.Cmd
	timeout := redisTimeout
	if replicas > 0 {
		timeout += replicaTimeout
	}
	err = s.atMasterWithin(ctx, timeout, func(p redis.Pipeliner) {
		done = p.Eval(ctx, swap, append(names, keptIndex, confirmedKey), args...)
		if replicas > 0 {
			confirmed = p.Do(ctx, "WAIT", 1, replicaTimeout.Milliseconds())
		}
	})
	if err != nil {
		return nil, err
	}
	now, err = swapped(done)
	if err == nil && now == nil && confirmed != nil {
		if n, _ := confirmed.Int(); n == 0 {
			err = errUnconfirmed
		}
	}
	return now, err
}

// swapped reads what the script returned.
func swapped(done *redis.Cmd) (now []string, err error) {
	result, err := done.Result()
	if values, ok := result.([]any); ok && err == nil {
		return stringsOf(values), nil
	}
	return nil, err
}

func (s redisStore) List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	if !s.isKept() {
		return s.listByScan(ctx, prefix, visit)
	}
	const page = 200
	for from, more := "["+keptKeys+prefix, true; more; {
		var keys, raw []string
		err := s.use(ctx, "list", nil, func(ctx context.Context) (err error) {
			var names *redis.StringSliceCmd
			err = s.atMaster(ctx, func(p redis.Pipeliner) {
				names = p.ZRangeArgs(ctx, redis.ZRangeArgs{Key: keptIndex, ByLex: true, Start: from, Stop: "+",
					Count: page})
			})
			if err != nil {
				return err
			}
			keys = names.Val()
			if more = len(keys) == page; len(keys) > 0 {
				from = "(" + keys[len(keys)-1]
			}
			for i, name := range keys {
				if keys[i] = strings.TrimPrefix(name, keptKeys); !strings.HasPrefix(keys[i], prefix) {
					keys, more = keys[:i], false
					break
				}
			}
			if raw, _, err = s.read(ctx, keys); err == nil {
				s.drop(ctx, keys, raw)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i, r := range s.decode(raw) {
			if r.Value != nil && !visit(keys[i], r) {
				return nil
			}
		}
	}
	return nil
}

// listByScan is List for counters, of which it may miss some.
func (s redisStore) listByScan(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s.prefix+prefix) + "*"
	var keys []string
	for cursor, more := uint64(0), true; more; more = cursor != 0 {
		err := s.use(ctx, "list", nil, func(ctx context.Context) error {
			master, err := s.master(ctx)
			if err != nil {
				return err
			}
			var found []string
			found, cursor, err = master.Scan(ctx, cursor, pattern, 1000).Result()
			keys = append(keys, found...)
			return err
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	const page = 200
	for ; len(keys) > 0; keys = keys[min(page, len(keys)):] {
		some := slices.Clone(keys[:min(page, len(keys))])
		for i, name := range some {
			some[i] = strings.TrimPrefix(name, s.prefix)
		}
		var raw []string
		err := s.use(ctx, "list", nil, func(ctx context.Context) (err error) {
			raw, _, err = s.read(ctx, some)
			return err
		})
		if err != nil {
			return err
		}
		for i, r := range s.decode(raw) {
			if r.Value != nil && !visit(some[i], r) {
				return nil
			}
		}
	}
	return nil
}

// tidySometimes drops some of the kept records that ended long ago.
func (s redisStore) tidySometimes(ctx context.Context) {
	if s.isKept() && rand.N(tidyEvery) == 0 {
		s.tidy(ctx)
	}
}

func (s redisStore) tidy(ctx context.Context) {
	var names *redis.StringSliceCmd
	err := s.atMaster(ctx, func(p redis.Pipeliner) { names = p.ZRandMember(ctx, keptIndex, tidyKeys) })
	if err != nil {
		return // the next one will do it
	}
	keys := names.Val()
	for i, name := range keys {
		keys[i] = strings.TrimPrefix(name, keptKeys)
	}
	if raw, _, err := s.read(ctx, keys); err == nil {
		s.drop(ctx, keys, raw)
	}
}

// drop deletes kept records that ended long ago, and names in the index without a record.
func (s redisStore) drop(ctx context.Context, keys, raw []string) {
	var over, old []string
	var differ []bool
	for i, key := range keys {
		if r := s.record(raw[i]); r.Value == nil || isLongOver(r, s.Now()) {
			over, old, differ = append(over, key), append(old, raw[i]), append(differ, true)
		}
	}
	if len(over) > 0 {
		_, _ = s.swap(ctx, over, old, make([]Record, len(over)), differ, 0) // the next one will do it
	}
}

// read returns the values of records as the server has them, "" for none; of kept ones also how
// many replicas it has.
func (s redisStore) read(ctx context.Context, keys []string) (raw []string, replicas int, err error) {
	if !s.isKept() {
		if len(keys) == 0 {
			return nil, 0, nil
		}
		values, err := s.client.MGet(ctx, s.names(keys)...).Result()
		return stringsOf(values), 0, err
	}
	values := new(redis.SliceCmd)
	var replication, memory *redis.StringCmd
	isFit := s.isFit()
	err = s.atMaster(ctx, func(p redis.Pipeliner) {
		replication = p.Info(ctx, "replication")
		if !isFit {
			memory = p.Info(ctx, "memory")
		}
		if len(keys) > 0 {
			values = p.MGet(ctx, s.names(keys)...)
		}
	})
	if err != nil {
		return nil, 0, err
	}
	info := parseInfo(replication.Val())
	if info["role"] != "master" {
		return nil, 0, errReplica
	}
	if !isFit {
		if err := checkEviction(parseInfo(memory.Val())); err != nil {
			return nil, 0, err
		}
		s.mu.Lock()
		s.fitTill = time.Now().Add(fitPeriod)
		s.mu.Unlock()
	}
	for name, value := range info {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, "state=online") {
			replicas++
		}
	}
	return stringsOf(values.Val()), replicas, nil
}

func (s redisStore) isFit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.fitTill)
}

// checkEviction refuses a server for kept records if it drops any key when it is full.
func checkEviction(info map[string]string) error {
	policy, known := info["maxmemory_policy"]
	switch limit := info["maxmemory"]; {
	case !known:
		return errNoPolicy
	case strings.HasPrefix(policy, "allkeys-") && limit != "0":
		return answerError("it may evict tokens and revocations: its maxmemory-policy is " + policy +
			"\n  set maxmemory-policy volatile-ttl at the server")
	}
	return nil
}

// parseInfo reads the answer to INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			info[name] = value
		}
	}
	return info
}

// master is the server that has all records.
func (r *Redis) master(ctx context.Context) (*redis.Client, error) {
	switch c := r.client.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, redisPrefix)
	}
	return nil, fmt.Errorf("client of type %T", r.client)
}

// atMaster sends commands together, on one connection. While a Cluster moves the records it tries
// again.
func (r *Redis) atMaster(ctx context.Context, fill func(redis.Pipeliner)) error {
	return r.atMasterWithin(ctx, redisTimeout, fill)
}

// atMasterWithin is atMaster for commands that the server may be slower with.
func (r *Redis) atMasterWithin(ctx context.Context, timeout time.Duration, fill func(redis.Pipeliner)) error {
	for {
		master, err := r.master(ctx)
		if err == nil {
			if timeout != redisTimeout {
				master = master.WithTimeout(timeout)
			}
			_, err = master.Pipelined(ctx, func(p redis.Pipeliner) error {
				fill(p)
				return nil
			})
		}
		cluster, isCluster := r.client.(*redis.ClusterClient)
		_, moved := redis.IsMovedError(err)
		if _, moving := redis.IsAskError(err); !isCluster || !moved && !moving {
			return err
		}
		cluster.ReloadState(ctx)
		if sleep(ctx, 10*maxPause) != nil {
			return err
		}
	}
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
	err := s.stillAway()
	if err == nil {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, lockTimeout)
		defer cancel()
		err = do(bounded)
		switch {
		case err == nil || errors.Is(err, ErrTooLong):
			return err
		case ctx.Err() != nil: // the caller's
			if time.Since(began) >= 3*redisTimeout/4 {
				_ = s.noteAway(err, ctx) // the caller has more calls to make
			}
			return fmt.Errorf("%s records at the state server: %w", verb, ctx.Err())
		}
		err = s.noteAway(err, bounded)
	}
	text := onOneLine(s.withoutSecrets(err.Error()))
	if redis.IsPermissionError(err) {
		text += "\n  ACL SETUSER " + cmp.Or(s.address.options.Username, "default") + " " + RedisRights
	}
	// Not %w: a network's timeout would pass for the caller's.
	return fmt.Errorf("%s records at the state server: %s", verb, text)
}

// stillAway returns why the server is not asked again yet.
func (s redisStore) stillAway() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch now := time.Now(); {
	case now.Before(s.awayTill):
		return s.away
	case !s.isKept() && now.Before(s.slowTill):
		return errSlow
	}
	return nil
}

// noteSlow remembers a server that has answered, but late.
func (s redisStore) noteSlow(began time.Time) {
	if s.isKept() || time.Since(began) <= slowAnswer {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowTill = time.Now().Add(awayPause)
}

// noteAway remembers that the server has not answered, unless err says that it has.
func (r *Redis) noteAway(err error, bounded context.Context) error {
	var answer redis.Error
	if errors.As(err, &answer) || errors.As(err, new(answerError)) {
		return err
	}
	switch {
	case bounded.Err() != nil:
		err = errNoAnswer
	case r.address.options.TLSConfig != nil && errors.Is(err, context.DeadlineExceeded):
		err = errNoTLS // it waits for the end of what it takes for a command
	case errors.Is(err, io.EOF):
		err = errors.New("connection closed")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away, r.awayTill = err, time.Now().Add(awayPause)
	return err
}

// onOneLine joins the lines of a library's errors. A line that begins with blanks is a hint.
func onOneLine(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		switch {
		case i > 0 && strings.HasPrefix(line, "  "):
			b.WriteString("\n")
		case i > 0:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// withoutSecrets leaves out what a server repeats of a command that it does not know, which may be
// the one with the password.
func (r *Redis) withoutSecrets(text string) string {
	text, _, _ = strings.Cut(text, ", with args beginning with")
	for _, secret := range []string{r.address.options.Password, r.address.options.SentinelPassword} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

func sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func stringsOf(values []any) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i], _ = v.(string)
	}
	return list
}

func encodeRedis(r Record, mark []byte) string {
	if r.Value == nil {
		return ""
	}
	return string(slices.Concat(binary.BigEndian.AppendUint64(nil, uint64(r.Until.UnixMilli())), mark, r.Value))
}

// decode returns the records that are not over.
func (s redisStore) decode(raw []string) []Record {
	records, now := make([]Record, len(raw)), s.Now()
	for i := range raw {
		if r := s.record(raw[i]); !r.expired(now, s.isKept()) {
			records[i] = r
		}
	}
	return records
}

// record reads a value. A damaged one in the place of a kept record is none that its user can read,
// and must not pass for no record.
func (s redisStore) record(raw string) Record {
	r := decodeRedis(raw)
	if r.Value == nil && raw != "" && s.isKept() {
		return Record{[]byte(raw), Forever}
	}
	return r
}

// decodeRedis returns no record for a value that is not one.
func decodeRedis(raw string) Record {
	b := []byte(raw)
	if len(b) < 16 {
		return Record{}
	}
	return Record{bytes.Clone(b[16:]), time.UnixMilli(int64(binary.BigEndian.Uint64(b)))}
}
