package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/handler"
	"dockerauth/harden"
	"dockerauth/jwtsign"
)

// keptTokens is an open store, and the log for what is done in it.
type keptTokens struct {
	records *credentials.Records
	audit   func() *slog.Logger // opens the log, which a list does not need
	by      string              // who runs the command
	close   func()
}

// load reads the configuration, which needs the rights to read the key.
func (t Tokens) load() (*config.Config, error) {
	path := t.Config
	if path == "" {
		var err error
		if path, err = FindConfig(); err != nil {
			return nil, err
		}
	}
	cfg, err := config.Load(path)
	if err != nil && os.Geteuid() != 0 && strings.Contains(err.Error(), syscall.EACCES.Error()) {
		cause, _ := cli.SplitHint(err)
		return nil, errors.New(cause + "\n  " + t.sudo())
	}
	return cfg, err
}

// sudo is the command as it would work.
func (t Tokens) sudo() string { return "run it as root: sudo dockerauth " + t.Command }

// open makes this process the owner of the folder with the tokens, if it is root's, and opens the
// store and the log.
func (t Tokens) open(cfg *config.Config) (*keptTokens, error) {
	by := operator()
	if err := t.becomeOwner(cfg); err != nil {
		return nil, err
	}
	records, closeStore, err := OpenCredentials(cfg)
	if err != nil {
		return nil, err
	}
	closeLog := func() error { return nil }
	audit := sync.OnceValue(func() (log *slog.Logger) {
		log, closeLog = AuditLog(cfg, t.Stderr)
		t.warnOfLoss(cfg.State)
		return log
	})
	return &keptTokens{records, audit, by, func() {
		_ = closeStore() // what was written is safe
		_ = closeLog()
	}}, nil
}

// warnOfLoss says that what was just written is not yet safe. A server that does not say what it
// loses is a matter for check.
func (t Tokens) warnOfLoss(state string) {
	if !config.IsStateServer(state) {
		return
	}
	if loses, err := CheckDurable(state); err == nil && loses != "" {
		fmt.Fprintf(t.Stderr, "dockerauth: done, but the state server loses %s when it is killed\n"+
			"  dockerauth check has the commands that change it\n", loses)
	}
}

func (t Tokens) withStore(do func(*keptTokens) error) error {
	cfg, err := t.load()
	if err != nil {
		return err
	}
	k, err := t.open(cfg)
	if err != nil {
		return err
	}
	defer k.close()
	return storeError(do(k))
}

// storeError adds a hint to an error that has none: the request was checked before, so that the
// store is at fault.
func storeError(err error) error {
	if err == nil || strings.Contains(err.Error(), "\n") {
		return err
	}
	return fmt.Errorf("%w\n  dockerauth check looks at the place where tokens are kept", err)
}

func (t Tokens) becomeOwner(cfg *config.Config) error {
	if cfg.State == "" || config.IsStateServer(cfg.State) {
		return nil // OpenCredentials says what is wrong
	}
	err := harden.BecomeOwnerOf(cfg.State)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return cfg.ErrorAt(fmt.Errorf("there is no folder %s, in which tokens are kept", cfg.State),
			makeFolder(cfg.State), "state")
	}
	cause, hint := cli.SplitHint(err)
	if os.Geteuid() != 0 {
		hint = t.sudo()
	}
	return cfg.ErrorAt(errors.New(cause), hint, "state")
}

// makeFolder makes a folder for the user that packages make, or else a web server's.
func makeFolder(path string) string {
	if meansServer(path) {
		return stateHint(path)
	}
	for _, name := range []string{"dockerauth", "www-data", "apache", "http"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		return fmt.Sprintf("for dockerauth as user %s: install -d -o %[1]s -g %s -m 0700 %s", name, account.Gid,
			jwtsign.ShellWord(path))
	}
	return "make it for the user that dockerauth runs as: install -d -o UID -g GID -m 0700 " + jwtsign.ShellWord(path)
}

// log writes what was done, and who did it.
func (k *keptTokens) log(message, event string, fields ...any) {
	k.audit().Info(message, slices.Concat([]any{"event", event}, fields, []any{"by", k.by})...)
}

// because is the field for a reason, if one was given.
func because(reason string) []any {
	if reason == "" {
		return nil
	}
	return []any{"reason", reason}
}

// logToken writes what was done with a token. Its text and the state of its account have no field.
func (k *keptTokens) logToken(message, event string, t credentials.Token, more ...any) {
	k.log(message, event, append(tokenFields(t), more...)...)
}

func tokenFields(t credentials.Token) []any {
	return []any{"credential", t.ID, "kind", t.Kind, "subject", t.Login(), "scope", strings.Join(t.Scopes, " "),
		"expires", t.Expires.UTC().Format(time.RFC3339)}
}

// operator is the person who runs a command, through sudo or not.
func operator() string {
	if name := os.Getenv("SUDO_USER"); handler.ValidUser(name) {
		return name
	}
	id := strconv.Itoa(os.Getuid())
	if account, err := user.LookupId(id); err == nil {
		return account.Username
	}
	return id
}

// tokenError says which token an error is about.
func tokenError(id string, err error) error {
	if errors.Is(err, credentials.ErrNotFound) {
		return unknownTokens([]string{id})
	}
	return err
}

func unknownTokens(ids []string) error {
	return fmt.Errorf("there is no token %s\n  dockerauth token list shows those that have not expired",
		strings.Join(ids, ", "))
}

// TokenOwnerArg is the argument with which the program starts itself to look a token up as the
// owner of the folder, while it has to stay root.
const TokenOwnerArg = "internal-token"

// tokenQuestion is what the child is asked.
type tokenQuestion struct{ State, ID string }

// lookUp returns a record. Root's process does not open the folder of another user: a child does
// that becomes the owner.
func (t Tokens) lookUp(ctx context.Context, cfg *config.Config, id string) (credentials.Token, error) {
	info, err := os.Stat(cfg.State)
	if os.Geteuid() != 0 || err != nil || ownedByRoot(info) {
		k, err := t.open(cfg)
		if err != nil {
			return credentials.Token{}, err
		}
		defer k.close()
		token, err := k.records.Get(ctx, id)
		return token, tokenError(id, err)
	}
	question, err := json.Marshal(tokenQuestion{cfg.State, id})
	if err != nil {
		return credentials.Token{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	child := exec.CommandContext(ctx, "/proc/self/exe", TokenOwnerArg)
	child.Args[0] = os.Args[0]
	child.Env = []string{}
	child.Stdin = strings.NewReader(string(question))
	var out, errs strings.Builder
	child.Stdout, child.Stderr = &out, &errs
	if err := child.Run(); err != nil {
		said := strings.TrimPrefix(strings.TrimSpace(errs.String()), "dockerauth: ")
		return credentials.Token{}, errors.New(cmp.Or(said, err.Error()))
	}
	var token credentials.Token
	if err := json.Unmarshal([]byte(out.String()), &token); err != nil {
		return token, fmt.Errorf("look up token %s: %w", id, err)
	}
	return token, CheckUser(token.User)
}

// lookUpTimeout is longer than a store takes.
const lookUpTimeout = 15 * time.Second

func ownedByRoot(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}

// PrintTokenOwner is what the child does.
func PrintTokenOwner(streams cli.Streams) int {
	var q tokenQuestion
	if err := json.NewDecoder(streams.In).Decode(&q); err != nil {
		return cli.Fail(streams.Err, err)
	}
	cfg := &config.Config{State: q.State}
	t := Tokens{Stderr: streams.Err}
	if err := t.becomeOwner(cfg); err != nil {
		return cli.Fail(streams.Err, err)
	}
	records, closeStore, err := OpenCredentials(cfg)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	defer closeStore()
	token, err := records.Get(context.Background(), q.ID)
	if err != nil {
		return cli.Fail(streams.Err, tokenError(q.ID, err))
	}
	if err := json.NewEncoder(streams.Out).Encode(token); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}
