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

// accessRules are those of the issue, made for the people above.
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

// accessCases are played by each client, below a repository of its own: "/docker" and "/skopeo" come after each name.
var accessCases = []struct {
	name  string
	seeds []string // repositories that adm fills first
	deeds []deed
	only  string // the client that can do it; "" = docker and skopeo
}{
	{
		name:  "who may pull and not push pulls and does not push",
		seeds: []string{"shared/tool"},
		deeds: []deed{
			{as: "ben", does: "pull", repo: "shared/tool"},
			{as: "ben", does: "push", repo: "shared/tool", refused: true},
			{as: "ben", does: "push", repo: "shared/new", refused: true},
		},
	},
	{
		name: "everybody has a namespace of their own and not somebody else's",
		deeds: []deed{
			{as: "ben", does: "push", repo: "%ben/app"},
			{as: "ben", does: "pull", repo: "%ben/app"},
			{as: "ben", does: "push", repo: "%ann/app", refused: true},
			{as: "ben", does: "push", repo: "%benjamin/app", refused: true},
			{as: "ben", does: "push", repo: "under/%ben/app", refused: true},
			{as: "ann", does: "pull", repo: "%ben/app", refused: true},
			{as: "ann", does: "push", repo: "%ben/app", refused: true},
		},
	},
	{
		name: "a group has a namespace, whether it is the primary one or a supplementary one",
		deeds: []deed{
			{as: "ann", does: "push", repo: "%guild/app"},
			{as: "ann", does: "pull", repo: "%guild/app"},
			{as: "ann", does: "push", repo: "%team/app"},
			{as: "ann", does: "push", repo: "%admins/app", refused: true},
			{as: "ben", does: "pull", repo: "%team/app", refused: true},
			{as: "ben", does: "push", repo: "%team/app", refused: true},
		},
	},
	{
		name: "a system group has none unless min_gid says so, and min_gid keeps others out",
		deeds: []deed{
			{as: "ann", does: "push", repo: "%system/app", refused: true},
			{as: "ann", does: "push", repo: "low/%system/app"},
			{as: "ann", does: "push", repo: "high/%team/app", refused: true},
		},
	},
	{
		name:  "who is logged out pulls what is public, and so does who is logged in",
		seeds: []string{"public/app", "shared/inside"},
		deeds: []deed{
			{does: "pull", repo: "public/app"},
			{does: "push", repo: "public/app", refused: true},
			{does: "push", repo: "public/new", refused: true},
			{does: "pull", repo: "shared/inside", refused: true},
			{as: "ben", does: "pull", repo: "public/app"},
			{as: "ben", does: "pull", repo: "shared/inside"},
			{as: "ben", does: "push", repo: "public/app", refused: true},
			{does: "pull", repo: "public/app"},
			{does: "pull", repo: "shared/inside", refused: true},
		},
	},
	{
		name: "who may delete deletes, and push alone does not",
		only: "skopeo",
		deeds: []deed{
			{as: "ben", does: "push", repo: "%ben/passing"},
			{as: "ann", does: "delete", repo: "%ben/passing", refused: true},
			{as: "ben", does: "delete", repo: "%ben/passing"},
			{as: "ann", does: "push", repo: "%team/lasting"},
			{as: "ann", does: "delete", repo: "%team/lasting", refused: true},
			{as: "adm", does: "delete", repo: "%team/lasting"},
		},
	},
	{
		name:  "the catalog is for admins",
		only:  "crane",
		seeds: []string{"shared/listed"},
		deeds: []deed{
			{does: "list", refused: true},
			{as: "ben", does: "list", refused: true},
			{as: "ann", does: "list", refused: true},
			{as: "fay", does: "list", refused: true}, // from elsewhere only
			{as: "ola", does: "list", refused: true}, // for another service only
			{as: "adm", does: "list"},
		},
	},
}

func TestClientsGetWhatAccessRulesAllow(t *testing.T) {
	leaveAsFound(t, madeOutside)
	everyone := makePeople(t)
	dm := startDaemons(t)
	for _, registry := range []registryKind{registry28, registry31} {
		t.Run(string(registry), func(t *testing.T) {
			t.Parallel()
			l := openLane(t, registry, everyone, siteOptions{
				extra:        everyone.named(t, accessRules),
				audienceLine: `audience: ["` + audience + `", "` + otherAudience + `"]`,
			}, dm)
			for _, h := range []hand{dockerHand, skopeoHand, craneHand} {
				t.Run(h.name, func(t *testing.T) { l.playAll(t, h) })
			}
			expectLog(t, l.service, l.tap) // what comes now does not all pass the tap
			t.Run("the catalog opens from the address and for the service that the rule names", l.catalogElsewhere)
			t.Run("a blacklisted group is refused like a wrong password", l.blacklisted)
			if strings.Contains(l.service.output(), unixPassword) {
				t.Error("a password is in the log")
			}
			if strings.Contains(l.service.output(), "configuration may have a mistake") {
				t.Error("the service does not know who the rules name")
			}
		})
	}
}

func (l *lane) playAll(t *testing.T, h hand) {
	for _, c := range accessCases {
		if c.only != h.name && (c.only != "" || h.name == craneHand.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, repo := range c.seeds {
				l.doer(t, h).do(deed{as: "adm", does: "push", repo: repo + "/" + h.name})
			}
			w := l.doer(t, h) // at a desk where nobody was ever logged in
			for _, a := range c.deeds {
				if a.repo != "" {
					a.repo += "/" + h.name
				}
				o := w.do(a)
				if a.does == "list" && !a.refused && !slices.Contains(strings.Fields(o.stdout), "shared/listed/"+h.name) {
					t.Errorf("the catalog is %q, want the repository that was pushed in it", o.stdout)
				}
			}
		})
	}
	t.Run("a wrong credential is refused where nobody needs any", func(t *testing.T) { l.wrongCredentials(t, h) })
	if h.name == craneHand.name {
		return // it remembers no layers
	}
	t.Run("a layer of a repository one may not pull is uploaded, not mounted", func(t *testing.T) {
		l.mount(t, h, "vault/base/"+h.name, "%ben/derived/"+h.name, false)
	})
	t.Run("a layer of a repository one may pull is mounted", func(t *testing.T) {
		l.mount(t, h, "shared/base/"+h.name, "%ben/based/"+h.name, true)
	})
}

// wrongCredentials pulls a public image with a password and with a refresh token that are wrong.
func (l *lane) wrongCredentials(t *testing.T, h hand) {
	repo := "public/open/" + h.name
	l.doer(t, h).do(deed{as: "adm", does: "push", repo: repo})
	w := l.doer(t, h)
	for what, use := range map[string]func(){
		"password":      func() { w.desk.useCredentials(l.name(t, "ben"), wrongPassword) },
		"account":       func() { w.desk.useCredentials("e2e-nobody-at-all", unixPassword) },
		"refresh token": func() { w.desk.useRefreshToken("ey.not.one") },
	} {
		use()
		w.desk.repo = repo
		o := w.hand.does["pull"](w.desk)
		if said := o.stdout + o.stderr; o.status == 0 || !denied.MatchString(said) {
			t.Errorf("pull with a wrong %s: %v\nwant a refusal", what, o)
		}
		seen := w.tap.take()
		withCredential := func(q tokenRequest) bool { return wasRefused(q) && (q.refresh || q.account != "") }
		if len(seen) == 0 || count(seen, withCredential) != len(seen) {
			t.Errorf("a wrong %s asked the token service %+v, want refusals only, and no client that goes on as nobody", what, seen)
		}
	}
}

// mount has ben push an image whose layers the registry has in a repository of adm's, known to the client. In either case the push succeeds.
func (l *lane) mount(t *testing.T, h hand, from, to string, allowed bool) {
	w := l.doer(t, h)
	w.do(deed{as: "adm", does: "push", repo: from})
	w.become("ben")
	to = l.named(t, to)
	w.desk.repo = to
	logged := len(l.r.p.output())
	o := h.does["push"](w.desk)
	if o.status != 0 {
		t.Fatalf("push: %v", o)
	}
	w.checkDone(deed{does: "push", repo: to})
	seen := w.tap.take()
	askedFor := func(q tokenRequest) bool {
		return strings.Contains(strings.Join(q.scopes, " "), "repository:"+from+":pull")
	}
	if count(seen, askedFor) == 0 || count(seen, wasGranted) != len(seen) {
		t.Errorf("asked the token service %+v, want a request for %s among them, and all answered with 200", seen, from)
	}
	// The registry's own word: 201 to a POST that names the source is a mount; the last part of an upload is a PUT.
	eventually(t, 5*time.Second, "the registry's log to have the end of the push", func() bool {
		return loggedRequests(l.r.p.output()[logged:], func(method string, u *url.URL, _ string) bool {
			return method == http.MethodPut && strings.HasPrefix(u.Path, "/v2/"+to+"/manifests/")
		}) > 0
	})
	log := l.r.p.output()[logged:]
	mounted, uploaded := mounts(log, from), uploads(log, to)
	if allowed && (mounted == 0 || strings.Contains(o.stdout, "Layer already exists")) {
		t.Errorf("%d layers mounted from %s, want some: %v\n%s", mounted, from, o, log)
	}
	if !allowed && (mounted > 0 || uploaded == 0 || strings.Contains(o.stdout, "Mounted from")) {
		t.Errorf("%d layers mounted from %s and %d uploaded, want uploads only: %v\n%s", mounted, from, uploaded, o, log)
	}
	w.do(deed{as: "ben", does: "pull", repo: to})
	w.do(deed{as: "ben", does: "pull", repo: from, refused: !allowed})
}

var loggedRequest = regexp.MustCompile(`http\.request\.method=(\w+) .*http\.request\.uri="?([^" ]*)"? .*http\.response\.status=(\d+)`)

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
