package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const otherAudience = "other.example"

// accessRules are for the accounts of newAccountSet.
const accessRules = `access:
  - {allow: [pull], repositories: ["public/**"], to: [anyone]}
  - {allow: [pull], repositories: ["shared/**"], to: [users]}
  - {allow: [pull, push, delete], repositories: ["{user}/**"], to: [users]}
  - {allow: [push], repositories: ["{group}/**"], to: ["@team", "@guild", "@system"]}
  - {allow: [push], repositories: ["low/{group}/**"], to: ["@system"], min_gid: 1}
  - {allow: [push], repositories: ["high/{group}/**"], to: ["@team"], min_gid: 60001}
  - {allow: ["*"], to: ["@admins"]}
  - {allow: [catalog], to: ["@admins"], from: [127.0.0.0/8], services: [registry.example]}
  - {allow: [catalog], to: ["@remote"], from: [192.0.2.0/24, 127.0.0.2]}
  - {allow: [catalog], to: ["@other"], services: [other.example]}
blacklisted_users: ["@banned"]
`

// accessCases run with each tool, below a repository of its own: "/docker" or "/skopeo" is appended
// to each name.
var accessCases = []struct {
	name       string
	seeds      []string // repositories that adm fills first
	operations []operation
	only       string // the client that can do it; "" = docker and skopeo
}{
	{
		name:  "pull is allowed and push refused where the rule says so",
		seeds: []string{"shared/tool"},
		operations: []operation{
			{as: "ben", verb: "pull", repo: "shared/tool"},
			{as: "ben", verb: "push", repo: "shared/tool", refused: true},
			{as: "ben", verb: "push", repo: "shared/new", refused: true},
		},
	},
	{
		name: "every user has a namespace, and none of another user's",
		operations: []operation{
			{as: "ben", verb: "push", repo: "%ben/app"},
			{as: "ben", verb: "pull", repo: "%ben/app"},
			{as: "ben", verb: "push", repo: "%ann/app", refused: true},
			{as: "ben", verb: "push", repo: "%benjamin/app", refused: true},
			{as: "ben", verb: "push", repo: "under/%ben/app", refused: true},
			{as: "ann", verb: "pull", repo: "%ben/app", refused: true},
			{as: "ann", verb: "push", repo: "%ben/app", refused: true},
		},
	},
	{
		name: "a group has a namespace, whether it is the primary one or a supplementary one",
		operations: []operation{
			{as: "ann", verb: "push", repo: "%guild/app"},
			{as: "ann", verb: "pull", repo: "%guild/app"},
			{as: "ann", verb: "push", repo: "%team/app"},
			{as: "ann", verb: "push", repo: "%admins/app", refused: true},
			{as: "ben", verb: "pull", repo: "%team/app", refused: true},
			{as: "ben", verb: "push", repo: "%team/app", refused: true},
		},
	},
	{
		name: "a system group has none unless min_gid says so, and min_gid keeps others out",
		operations: []operation{
			{as: "ann", verb: "push", repo: "%system/app", refused: true},
			{as: "ann", verb: "push", repo: "low/%system/app"},
			{as: "ann", verb: "push", repo: "high/%team/app", refused: true},
		},
	},
	{
		name:  "public repositories are pulled with and without a login",
		seeds: []string{"public/app", "shared/inside"},
		operations: []operation{
			{verb: "pull", repo: "public/app"},
			{verb: "push", repo: "public/app", refused: true},
			{verb: "push", repo: "public/new", refused: true},
			{verb: "pull", repo: "shared/inside", refused: true},
			{as: "ben", verb: "pull", repo: "public/app"},
			{as: "ben", verb: "pull", repo: "shared/inside"},
			{as: "ben", verb: "push", repo: "public/app", refused: true},
			{verb: "pull", repo: "public/app"},
			{verb: "pull", repo: "shared/inside", refused: true},
		},
	},
	{
		name: "delete needs the action delete; push alone does not suffice",
		only: "skopeo",
		operations: []operation{
			{as: "ben", verb: "push", repo: "%ben/passing"},
			{as: "ann", verb: "delete", repo: "%ben/passing", refused: true},
			{as: "ben", verb: "delete", repo: "%ben/passing"},
			{as: "ann", verb: "push", repo: "%team/lasting"},
			{as: "ann", verb: "delete", repo: "%team/lasting", refused: true},
			{as: "adm", verb: "delete", repo: "%team/lasting"},
		},
	},
	{
		name:  "the catalog is for admins",
		only:  "crane",
		seeds: []string{"shared/listed"},
		operations: []operation{
			{verb: "list", refused: true},
			{as: "ben", verb: "list", refused: true},
			{as: "ann", verb: "list", refused: true},
			{as: "fay", verb: "list", refused: true}, // from elsewhere only
			{as: "ola", verb: "list", refused: true}, // for another service only
			{as: "adm", verb: "list"},
		},
	},
}

func TestClientsGetWhatAccessRulesAllow(t *testing.T) {
	leaveAsFound(t, outsidePaths)
	everyone := newAccountSet(t)
	dm := startDaemons(t)
	for _, registry := range []registryKind{registry28, registry31} {
		t.Run(string(registry), func(t *testing.T) {
			t.Parallel()
			sc := openScenario(t, registry, everyone, siteOptions{
				extra:        everyone.named(t, accessRules),
				audienceLine: `audience: ["` + audience + `", "` + otherAudience + `"]`,
			}, dm)
			for _, h := range []tool{dockerTool, skopeoTool, craneTool} {
				t.Run(h.name, func(t *testing.T) { sc.runAll(t, h) })
			}
			expectLog(t, sc.service, sc.tap) // not all later requests pass the tap
			t.Run("the catalog opens from the address and for the service that the rule names", sc.catalogElsewhere)
			t.Run("a blacklisted group is refused like a wrong password", sc.blacklisted)
			if strings.Contains(sc.service.output(), unixPassword) {
				t.Error("a password is in the log")
			}
			if strings.Contains(sc.service.output(), "configuration may have a mistake") {
				t.Error("the service does not know who the rules name")
			}
		})
	}
}

func (sc *scenario) runAll(t *testing.T, h tool) {
	for _, c := range accessCases {
		if c.only != h.name && (c.only != "" || h.name == craneTool.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, repo := range c.seeds {
				sc.startTool(t, h).do(operation{as: "adm", verb: "push", repo: repo + "/" + h.name})
			}
			tr := sc.startTool(t, h) // a fresh workspace: never logged in
			for _, op := range c.operations {
				if op.repo != "" {
					op.repo += "/" + h.name
				}
				o := tr.do(op)
				if op.verb == "list" && !op.refused &&
					!slices.Contains(strings.Fields(o.stdout), "shared/listed/"+h.name) {
					t.Errorf("the catalog is %q, want the repository that was pushed in it", o.stdout)
				}
			}
		})
	}
	t.Run("a wrong credential is refused where none is needed", func(t *testing.T) { sc.wrongCredentials(t, h) })
	if h.name == craneTool.name {
		return // skopeo does not remember layers
	}
	t.Run("a layer of a repository without pull is uploaded, not mounted", func(t *testing.T) {
		sc.mount(t, h, "vault/base/"+h.name, "%ben/derived/"+h.name, false)
	})
	t.Run("a layer of a repository with pull is mounted", func(t *testing.T) {
		sc.mount(t, h, "shared/base/"+h.name, "%ben/based/"+h.name, true)
	})
}

// wrongCredentials pulls a public image with a wrong password and with a wrong refresh token.
func (sc *scenario) wrongCredentials(t *testing.T, h tool) {
	repo := "public/open/" + h.name
	sc.startTool(t, h).do(operation{as: "adm", verb: "push", repo: repo})
	tr := sc.startTool(t, h)
	for what, use := range map[string]func(){
		"password":      func() { tr.workspace.useCredentials(sc.name(t, "ben"), wrongPassword) },
		"account":       func() { tr.workspace.useCredentials("e2e-nobody-at-all", unixPassword) },
		"refresh token": func() { tr.workspace.useRefreshToken("ey.not.one") },
	} {
		use()
		tr.workspace.repo = repo
		o := tr.tool.commands["pull"](tr.workspace)
		if said := o.stdout + o.stderr; o.status == 0 || !denied.MatchString(said) {
			t.Errorf("pull with a wrong %s: %v\nwant a refusal", what, o)
		}
		seen := tr.tap.take()
		withCredential := func(q tokenRequest) bool { return wasRefused(q) && (q.refresh || q.account != "") }
		if len(seen) == 0 || count(seen, withCredential) != len(seen) {
			t.Errorf("a wrong %s asked the token service %+v, want refusals only, and no client that continues "+
				"without credentials", what, seen)
		}
	}
}

// mount has ben push an image whose layers are in a repository of adm, which the client knows. The
// push succeeds either way.
func (sc *scenario) mount(t *testing.T, h tool, from, to string, allowed bool) {
	tr := sc.startTool(t, h)
	tr.do(operation{as: "adm", verb: "push", repo: from})
	tr.logInAs("ben")
	to = sc.named(t, to)
	tr.workspace.repo = to
	logged := len(sc.r.p.output())
	o := h.commands["push"](tr.workspace)
	if o.status != 0 {
		t.Fatalf("push: %v", o)
	}
	tr.checkDone(operation{verb: "push", repo: to})
	seen := tr.tap.take()
	askedFor := func(q tokenRequest) bool {
		return strings.Contains(strings.Join(q.scopes, " "), "repository:"+from+":pull")
	}
	if count(seen, askedFor) == 0 || count(seen, wasGranted) != len(seen) {
		t.Errorf("asked the token service %+v, want a request for %s among them, and all answered with 200", seen, from)
	}
	// In the registry's log, a mount is 201 to a POST that names the source; an upload ends with a
	// PUT.
	eventually(t, 5*time.Second, "the registry's log to have the end of the push", func() bool {
		return loggedRequests(sc.r.p.output()[logged:], func(method string, u *url.URL, _ string) bool {
			return method == http.MethodPut && strings.HasPrefix(u.Path, "/v2/"+to+"/manifests/")
		}) > 0
	})
	log := sc.r.p.output()[logged:]
	mounted, uploaded := mounts(log, from), uploads(log, to)
	if allowed && (mounted == 0 || strings.Contains(o.stdout, "Layer already exists")) {
		t.Errorf("%d layers mounted from %s, want some: %v\n%s", mounted, from, o, log)
	}
	if !allowed && (mounted > 0 || uploaded == 0 || strings.Contains(o.stdout, "Mounted from")) {
		t.Errorf("%d layers mounted from %s and %d uploaded, want uploads only: %v\n%s", mounted, from, uploaded, o,
			log)
	}
	tr.do(operation{as: "ben", verb: "pull", repo: to})
	tr.do(operation{as: "ben", verb: "pull", repo: from, refused: !allowed})
}

var loggedRequest = regexp.MustCompile(
	`http\.request\.method=(\w+) .*http\.request\.uri="?([^" ]*)"? .*http\.response\.status=(\d+)`)

func mounts(log, from string) int {
	return loggedRequests(log, func(method string, u *url.URL, status string) bool {
		return method == http.MethodPost && u.Query().Get("from") == from && status == "201"
	})
}

func uploads(log, to string) int {
	return loggedRequests(log, func(method string, u *url.URL, status string) bool {
		return method == http.MethodPut && strings.HasPrefix(u.Path, "/v2/"+to+"/blobs/uploads/") && status == "201"
	})
}

func loggedRequests(log string, is func(method string, u *url.URL, status string) bool) (n int) {
	for _, m := range loggedRequest.FindAllStringSubmatch(log, -1) {
		if u, err := url.Parse(m[2]); err == nil && is(m[1], u, m[3]) {
			n++
		}
	}
	return n
}
