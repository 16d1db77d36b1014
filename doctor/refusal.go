package doctor

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// localAccount is what modules look at.
type localAccount struct {
	name     string
	uid, gid string
	groups   []string // ids
	home     string
	known    bool // to Unix
	service  string
}

func newLocalAccount(name, service string) localAccount {
	a := localAccount{name: name, service: service}
	if u, err := user.Lookup(name); err == nil {
		a.known, a.uid, a.gid, a.home = true, u.Uid, u.Gid, u.HomeDir
		a.groups, _ = u.GroupIds() // a directory that is away leaves it without
	}
	return a
}

func (a localAccount) inGroup(name string) bool {
	group, err := user.LookupGroup(name)
	return err == nil && slices.Contains(a.groups, group.Gid)
}

// reason is why a line refuses an account, and how the account could come in.
type reason struct {
	what string // "refuses uid 998, which must be uid >= 1000"
	fix  string
}

// judge says what a module answers about an account, where that is certain without asking it.
func (c *checkup) judge(l pamauth.Line, a localAccount) (pamauth.Answer, reason) {
	switch l.Name() {
	case "pam_succeed_if":
		return c.judgeSucceedIf(l, a)
	case "pam_access":
		return judgeAccess(l, a)
	case "pam_listfile":
		return judgeList(l, a)
	case "pam_nologin":
		return judgeNoLogin(l, a)
	case "pam_faillock":
		return judgeFaillock(l, a, c.now())
	}
	return pamauth.Unknown, reason{}
}

// refusedBy finds the line that refuses, or nothing.
func (c *checkup) refusedBy(phase string, a localAccount) (l pamauth.Line, why reason, found bool) {
	l, found = pamauth.RefusedBy(c.stack, phase, func(l pamauth.Line) pamauth.Answer {
		answer, _ := c.judge(l, a)
		return answer
	})
	if found {
		_, why = c.judge(l, a)
	}
	return l, why, found
}

// conditions are the tests of pam_succeed_if, in threes.
func conditions(l pamauth.Line) (tests [][3]string, complete bool) {
	var words []string
	for _, arg := range l.Args {
		switch arg {
		case "debug", "quiet", "quiet_fail", "quiet_success", "audit":
		case "use_uid":
			return nil, false // about the user of the service
		default:
			words = append(words, arg)
		}
	}
	for ; len(words) >= 3; words = words[3:] {
		tests = append(tests, [3]string(words[:3]))
	}
	return tests, len(words) == 0
}

func (c *checkup) judgeSucceedIf(l pamauth.Line, a localAccount) (pamauth.Answer, reason) {
	tests, complete := conditions(l)
	if !complete {
		return pamauth.Unknown, reason{}
	}
	for _, test := range tests {
		holds, value, known := succeedIf(test, a)
		if !known {
			return pamauth.Unknown, reason{}
		}
		if holds {
			continue
		}
		if value == "" {
			return pamauth.No, reason{fmt.Sprintf("refuses %q, which is no account of this machine", a.name),
				"getent passwd shows the accounts; correct the name, or make the account: useradd " +
					jwtsign.ShellWord(a.name)}
		}
		fix := fmt.Sprintf("if %q is to come in, change %s:%d", a.name, l.File, l.Number)
		switch strings.ToLower(test[0]) {
		case "uid", "gid":
			fix = c.exceptionFor(a, fix)
		}
		if strings.EqualFold(test[1], "ingroup") {
			group, _, _ := strings.Cut(test[2], ":")
			fix = fmt.Sprintf("if %q is to come in: usermod -aG %s %s", a.name, jwtsign.ShellWord(group),
				jwtsign.ShellWord(a.name))
		}
		return pamauth.No, reason{fmt.Sprintf("refuses %s: it wants %s", value, strings.Join(test[:], " ")), fix}
	}
	return pamauth.Yes, reason{}
}

// succeedIf evaluates one condition as pam_succeed_if does. value names what was compared.
func succeedIf(test [3]string, a localAccount) (holds bool, value string, known bool) {
	attribute, operator, right := strings.ToLower(test[0]), strings.ToLower(test[1]), test[2]
	var left string
	switch attribute {
	case "user", "login", "name":
		left, value = a.name, fmt.Sprintf("%q", a.name)
	case "uid", "gid", "home", "homedir", "dir":
		left = map[string]string{"uid": a.uid, "gid": a.gid}[attribute]
		if left == "" {
			left = a.home
		}
		if !a.known {
			return false, "", true
		}
		value = attribute + " " + left
	case "service":
		left, value = a.service, "service "+a.service
	default:
		return false, "", false
	}
	in := func() bool { return slices.Contains(strings.Split(right, ":"), left) }
	inGroup := func() bool { return slices.ContainsFunc(strings.Split(right, ":"), a.inGroup) }
	switch operator {
	case "=":
		return left == right, value, true
	case "!=":
		return left != right, value, true
	case "in":
		return in(), value, true
	case "notin":
		return !in(), value, true
	case "ingroup":
		return inGroup(), fmt.Sprintf("%q", a.name), true
	case "notingroup":
		return !inGroup(), fmt.Sprintf("%q", a.name), true
	}
	l, errLeft := strconv.ParseInt(left, 10, 64)
	r, errRight := strconv.ParseInt(right, 10, 64)
	if errLeft != nil || errRight != nil {
		return false, "", false
	}
	switch operator {
	case "<", "lt":
		return l < r, value, true
	case "<=", "le":
		return l <= r, value, true
	case ">", "gt":
		return l > r, value, true
	case ">=", "ge":
		return l >= r, value, true
	case "eq":
		return l == r, value, true
	case "ne":
		return l != r, value, true
	}
	return false, "", false
}

// exceptionFor lets one account past the rules that refuse it, in both phases, and leaves the rules
// as they are for others. It is advised for system accounts, such as those of CI. change is advised
// where a line more could change what the others do.
func (c *checkup) exceptionFor(a localAccount, change string) string {
	uid, err := strconv.Atoi(a.uid)
	switch {
	case err != nil || !plainWord.MatchString(a.name):
		return change
	case uid == 0 || uid == 65534:
		return "log in with another account: this one has uid " + a.uid
	}
	var edits []string
	begun := map[string]bool{} // phases
	for _, l := range c.stack {
		first := !begun[l.Phase]
		begun[l.Phase] = true
		if l.Name() != "pam_succeed_if" {
			continue
		}
		tests, _ := conditions(l)
		if !slices.ContainsFunc(tests, func(test [3]string) bool {
			holds, _, known := succeedIf(test, a)
			return known && !holds
		}) {
			continue
		}
		if !first || l.Level > 0 || l.File != c.serviceFile() {
			return change // a jump before it may count lines
		}
		edits = append(edits, fmt.Sprintf("-e '%di %s [success=1 default=ignore] pam_succeed_if.so quiet user = %s'",
			l.Number, l.Phase, a.name))
	}
	return fmt.Sprintf("sed -i %s %s", strings.Join(edits, " "), jwtsign.ShellWord(c.serviceFile()))
}

// judgeAccess reads access.conf(5), for a login without a client's address, as check makes.
func judgeAccess(l pamauth.Line, a localAccount) (pamauth.Answer, reason) {
	file := "/etc/security/access.conf"
	_, otherFields := l.Value("fieldsep")
	_, otherLists := l.Value("listsep")
	named, isNamed := l.Value("accessfile")
	if isNamed {
		file = named
	}
	if !a.known || otherFields || otherLists {
		return pamauth.Unknown, reason{}
	}
	files := []string{file}
	if !isNamed {
		more, _ := filepath.Glob("/etc/security/access.d/*.conf") // the pattern is well formed
		files = append(files, more...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return pamauth.Unknown, reason{}
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			rule, finished := strings.CutSuffix(line, "\n")
			fields := strings.SplitN(strings.TrimRight(rule, " \t"), ":", 3)
			if strings.HasPrefix(rule, "#") || len(fields) < 3 {
				continue
			}
			fits := both(inList(strings.FieldsFunc(fields[1], isListSeparator), userMatcher(l, a)),
				inList(strings.FieldsFunc(fields[2], isListSeparator), originMatcher))
			switch permission := strings.TrimSpace(fields[0]); {
			case fits == pamauth.No:
			case fits == pamauth.Unknown || !finished:
				return pamauth.Unknown, reason{}
			case strings.HasPrefix(permission, "+"):
				return pamauth.Yes, reason{}
			default:
				return pamauth.No, reason{fmt.Sprintf("refuses %q by %s:%d: %s", a.name, file, number, rule),
					fmt.Sprintf("sed -i '%di + : %s : ALL' %s", number, a.name, jwtsign.ShellWord(file))}
			}
		}
	}
	return pamauth.Yes, reason{}
}

func isListSeparator(c rune) bool { return strings.ContainsRune(", \t", c) }

func both(a, b pamauth.Answer) pamauth.Answer {
	switch {
	case a == pamauth.No || b == pamauth.No:
		return pamauth.No
	case a == pamauth.Unknown || b == pamauth.Unknown:
		return pamauth.Unknown
	}
	return pamauth.Yes
}

// inList is list_match of pam_access: "ALL EXCEPT root".
func inList(words []string, matches func(string) pamauth.Answer) pamauth.Answer {
	end := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, "EXCEPT") })
	if end < 0 {
		end = len(words)
	}
	found := pamauth.No
	for _, word := range words[:end] {
		if m := matches(word); m == pamauth.Yes || m == pamauth.Unknown && found == pamauth.No {
			found = m
		}
	}
	if found == pamauth.No || end == len(words) {
		return found
	}
	switch inList(words[end+1:], matches) {
	case pamauth.Yes:
		return pamauth.No
	case pamauth.Unknown:
		return pamauth.Unknown
	}
	return found
}

func userMatcher(l pamauth.Line, a localAccount) func(string) pamauth.Answer {
	return func(word string) pamauth.Answer {
		inside, isGroup := strings.CutPrefix(word, "(")
		switch {
		case isGroup && strings.HasSuffix(word, ")"):
			return answerOf(a.inGroup(strings.TrimSuffix(inside, ")")))
		case strings.Contains(word, "@"):
			return pamauth.Unknown // a netgroup, or a user at a host
		}
		return answerOf(strings.EqualFold(word, "ALL") || strings.EqualFold(word, a.name) ||
			!l.Has("nodefgroup") && a.inGroup(word))
	}
}

// originMatcher is about a login without an address, which comes from PAM_TTY.
func originMatcher(word string) pamauth.Answer {
	if strings.HasPrefix(word, "@") {
		return pamauth.Unknown
	}
	return answerOf(strings.EqualFold(word, "ALL") || strings.EqualFold(word, "LOCAL") ||
		strings.EqualFold(word, "dockerauth"))
}

func answerOf(yes bool) pamauth.Answer {
	if yes {
		return pamauth.Yes
	}
	return pamauth.No
}

func judgeList(l pamauth.Line, a localAccount) (pamauth.Answer, reason) {
	item, _ := l.Value("item")
	sense, _ := l.Value("sense")
	file, _ := l.Value("file")
	info, err := os.Lstat(file)
	if item != "user" && item != "group" || sense != "allow" && sense != "deny" || err != nil {
		return pamauth.Unknown, reason{}
	}
	path := jwtsign.ShellWord(file)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o002 != 0 {
		return pamauth.No, reason{
			fmt.Sprintf("refuses everybody, since anyone may write to %s", file),
			"chmod o-w " + path,
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return pamauth.Unknown, reason{}
	}
	listed := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line != "" && (item == "user" && line == a.name || item == "group" && a.inGroup(line)) {
			listed = line
			break
		}
	}
	switch {
	case sense == "allow" && listed == "" && item == "user":
		return pamauth.No, reason{fmt.Sprintf("refuses %q, which is not in %s", a.name, file),
			fmt.Sprintf(`printf '%%s\n' %s >> %s`, jwtsign.ShellWord(a.name), path)}
	case sense == "allow" && listed == "":
		return pamauth.No, reason{fmt.Sprintf("refuses %q, which is in no group of %s", a.name, file),
			fmt.Sprintf(
				"if %q is to come in, add it to one of these groups, or one of its groups to %s",
				a.name,
				file,
			)}
	case sense == "deny" && listed != "" && plainWord.MatchString(listed):
		return pamauth.No, reason{fmt.Sprintf("refuses %q, since %s has %s", a.name, file, listed),
			fmt.Sprintf(
				"sed -i '/^%s\\r*$/d' %s",
				strings.ReplaceAll(strings.ReplaceAll(listed, "/", `\/`), ".", `\.`),
				path,
			)}
	case sense == "deny" && listed != "":
		return pamauth.No, reason{fmt.Sprintf("refuses %q, since %s has %q", a.name, file, listed),
			"if it is to come in, take it out of " + file}
	}
	return pamauth.Yes, reason{}
}

func judgeNoLogin(l pamauth.Line, a localAccount) (pamauth.Answer, reason) {
	files := []string{"/var/run/nologin", "/etc/nologin"}
	if file, found := l.Value("file"); found {
		files = []string{file}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err == nil && a.uid != "0" {
			return pamauth.No, reason{fmt.Sprintf("refuses everybody while there is %s", file),
				"once the machine is open to logins again: rm " + jwtsign.ShellWord(file)}
		}
	}
	return pamauth.Unknown, reason{}
}

// judgeFaillock reads the failures of an account (modules/pam_faillock/faillock.h): records of 64
// bytes, each with 52 of source, 2 unused, 2 of status and 8 of time.
func judgeFaillock(l pamauth.Line, a localAccount, now time.Time) (pamauth.Answer, reason) {
	set := faillockSettings(l)
	text, err := os.ReadFile(filepath.Join(set["dir"], a.name))
	deny, errDeny := strconv.Atoi(set["deny"])
	unlock, errUnlock := strconv.Atoi(strings.Replace(set["unlock_time"], "never", "0", 1))
	interval, errInterval := strconv.Atoi(set["fail_interval"])
	if err != nil || errDeny != nil || errUnlock != nil || errInterval != nil || deny <= 0 || a.uid == "0" ||
		strings.Contains(a.name, "/") {
		return pamauth.Unknown, reason{}
	}
	const record, valid = 64, 1
	var times []int64
	for ; len(text) >= record; text = text[record:] {
		if binary.NativeEndian.Uint16(text[54:])&valid != 0 {
			times = append(times, int64(binary.NativeEndian.Uint64(text[56:])))
		}
	}
	if len(times) == 0 {
		return pamauth.Unknown, reason{}
	}
	latest, failures := slices.Max(times), 0
	for _, at := range times {
		if latest-at < int64(interval) {
			failures++
		}
	}
	until := time.Unix(latest+int64(unlock), 0)
	if failures < deny || unlock > 0 && now.After(until) {
		return pamauth.Unknown, reason{}
	}
	command := "faillock"
	if set["dir"] != "/var/run/faillock" {
		command += " --dir " + jwtsign.ShellWord(set["dir"])
	}
	end := "for good"
	if unlock > 0 {
		end = "until " + until.Format(time.DateTime)
	}
	return pamauth.No, reason{fmt.Sprintf("has locked %q %s, after %d failures", a.name, end, failures),
		fmt.Sprintf("%s --user %s --reset", command, jwtsign.ShellWord(a.name))}
}

// faillockSettings are the line's, else the file's, else the module's own.
func faillockSettings(l pamauth.Line) map[string]string {
	set := map[string]string{"dir": "/var/run/faillock", "deny": "3", "unlock_time": "600", "fail_interval": "900"}
	file, found := l.Value("conf")
	if !found {
		file = "/etc/security/faillock.conf"
	}
	if f, err := os.Open(file); err == nil {
		defer f.Close()
		for in := bufio.NewScanner(f); in.Scan(); {
			line, _, _ := strings.Cut(in.Text(), "#")
			key, value, _ := strings.Cut(line, "=")
			if key = strings.TrimSpace(key); set[key] != "" {
				set[key] = strings.TrimSpace(value)
			}
		}
	}
	for key := range set {
		if value, found := l.Value(key); found {
			set[key] = value
		}
	}
	return set
}

// candidates are the lines of a phase that may have refused an account.
func (c *checkup) candidates(phase string, a localAccount) (lines []pamauth.Line) {
	for _, l := range c.stack {
		answer, _ := c.judge(l, a)
		switch l.Name() {
		case "", "pam_permit", "pam_deny", "pam_env", "pam_cap", "pam_faildelay", "pam_warn":
			continue
		case "pam_nologin", "pam_faillock": // which the judge knows where they refuse
			continue
		}
		if l.Phase == phase && answer == pamauth.Unknown {
			lines = append(lines, l)
		}
	}
	return lines
}

// refusalOf explains a refusal by the account itself, where only pam_unix can have refused. ok =
// there is something to tell.
func (c *checkup) refusalOf(phase string, a localAccount, code string) (what, why, fix string, ok bool) {
	lines := c.candidates(phase, a)
	if len(lines) == 0 || slices.ContainsFunc(lines, func(l pamauth.Line) bool { return l.Name() != "pam_unix" }) {
		return "", "", "", false
	}
	name, at := jwtsign.ShellWord(a.name), lineOf(lines[0])
	switch {
	case !a.known:
		return fmt.Sprintf("%s: this machine has no account %q", at, a.name), code,
			"correct the name; getent passwd shows the accounts", true
	case code == "PAM_ACCT_EXPIRED":
		return fmt.Sprintf("%s: the account %q has expired", at, a.name), code, "chage -E -1 -I -1 " + name, true
	case code == "PAM_NEW_AUTHTOK_REQD", code == "PAM_AUTHTOK_EXPIRED":
		return fmt.Sprintf("%s: the password of %q has to be changed", at, a.name), code, "passwd " + name, true
	}
	password, found := shadowField(a.name)
	switch {
	case !found || phase != "auth":
		return "", "", "", false
	case strings.HasPrefix(password, "!") && len(password) > len("!!*"):
		return fmt.Sprintf("%s: the password of %q is locked", at, a.name), code, "usermod -U " + name, true
	case password == "*" || strings.HasPrefix(password, "!"):
		return fmt.Sprintf("%s: %q has no password", at, a.name), code, "passwd " + name, true
	case password == "":
		return fmt.Sprintf("%s: %q has an empty password", at, a.name), code + ": it is refused here, with nullok too",
			"passwd " + name, true
	}
	return fmt.Sprintf("%s: the password is wrong", at), code + ": the account exists and is not locked",
		"type the password again, or set it: passwd " + name, true
}

// shadowField is an account's second field in /etc/shadow, if that file has it and can be read.
func shadowField(name string) (field string, found bool) {
	text, err := os.ReadFile("/etc/shadow")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); len(fields) > 1 && fields[0] == name {
			return fields[1], true
		}
	}
	return "", false
}
