package e2e

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// clientCases are requests of real clients, header by header. The GET of docker login (docker 28)
// and the POSTs of skopeo (1.9) were recorded; the others follow the clients' sources.
// roundtrip_test.go runs the clients themselves.
var clientCases = []testCase{
	{"docker login", recorded(`
		GET {mount}{path}?account=alice&client_id=docker&offline_token=true&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: Docker-Client/28.2.2 (linux)
		Authorization: Basic {alice}
		Accept-Encoding: gzip
		Connection: close

		`), want{status: 200, granted: "-", refresh: "new", log: map[string]string{"client": "docker", "account": alice, "user": alice}}},
	{"docker login, again with the refresh token it kept", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: Docker-Client/28.2.2 (linux)
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip
		Connection: close

		client_id=docker&grant_type=refresh_token&refresh_token={refresh}&scope=&service=registry.example`),
		want{status: 200, granted: "-", scope: "-", refresh: "same", log: map[string]string{"client": "docker"}}},
	{"docker push with a password", recorded(`
		GET {mount}{path}?account=alice&scope=repository%3Ateam%2Fapp%3Apush%2Cpull&scope=repository%3Ateam%2Fbase%3Apull&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: docker/28.2.2 go/go1.24.4 git-commit/45873be kernel/6.1.0 os/linux arch/amd64 UpstreamClient(Docker-Client/28.2.2 \(linux\))
		Authorization: Basic {alice}
		Accept-Encoding: gzip
		Connection: close

		`), want{status: 200, granted: "repository:team/app:push,pull repository:team/base:pull"}},
	{"docker push with a refresh token", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: docker/28.2.2 go/go1.24.4 git-commit/45873be kernel/6.1.0 os/linux arch/amd64 UpstreamClient(Docker-Client/28.2.2 \(linux\))
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip
		Connection: close

		client_id=docker&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apush%2Cpull+repository%3Ateam%2Fbase%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:push,pull repository:team/base:pull",
			scope: "repository:team/app:push,pull repository:team/base:pull", refresh: "same"}},

	// containerd, core/remotes/docker/auth/fetch.go: FetchTokenWithOAuth, then FetchToken.
	{"containerd asks by POST first", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: containerd/v2.1.1
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded; charset=utf-8
		Accept-Encoding: gzip

		client_id=containerd-client&grant_type=password&password=wonderland&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example&username=alice`),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull",
			log: map[string]string{"client": "containerd-client"}}},
	{"containerd asks by POST with a mistyped password", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: containerd/v2.1.1
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded; charset=utf-8
		Accept-Encoding: gzip

		client_id=containerd-client&grant_type=password&password={mistyped}&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example&username=alice`),
		unauthorized("")},
	{"containerd then asks by GET with the same mistyped password", recorded(`
		GET {mount}{path}?scope=repository%3Ateam%2Fapp%3Apull&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: containerd/v2.1.1
		Authorization: Basic {alice-mistyped}
		Accept-Encoding: gzip

		`), unauthorized("")},
	{"containerd hands a refresh token over by POST", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: containerd/v2.1.1
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded; charset=utf-8
		Accept-Encoding: gzip

		client_id=containerd-client&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},

	// moby/buildkit: session/auth/authprovider on the client's side, util/resolver on the daemon's.
	{"buildkit on the client's side", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: buildkit/v0.22
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded; charset=utf-8
		Accept-Encoding: gzip

		client_id=buildkit-client&grant_type=password&password=wonderland&scope=repository%3Ateam%2Fapp%3Apull+repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example&username=alice`),
		want{status: 200, granted: "repository:team/app:pull,push", scope: "repository:team/app:pull,push"}},
	{"buildkit on the daemon's side, with a token as the password of an empty user name", recorded(`
		GET {mount}{path}?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: buildkit/v0.22
		Authorization: Basic {refresh-password}
		Accept-Encoding: gzip

		`), want{status: 200, granted: "repository:team/app:pull,push"}},

	// containers/image, docker/docker_client.go: getBearerToken and getBearerTokenOAuth2.
	{"podman login", recorded(`
		GET {mount}{path}?account=alice&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: libpod/4.3.1
		Authorization: Basic {alice}
		Docker-Distribution-Api-Version: registry/2.0
		Accept-Encoding: gzip
		Connection: close

		`), want{status: 200, granted: "-", log: map[string]string{"account": alice}}},
	{"skopeo copy with a password", recorded(`
		GET {mount}{path}?account=alice&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: skopeo/1.9.3
		Authorization: Basic {alice}
		Accept-Encoding: gzip
		Connection: close

		`), want{status: 200, granted: "repository:team/app:pull,push repository:team/base:pull"}},
	{"skopeo with an identity token posts in chunks, without a length", recordedChunked(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: skopeo/1.9.3
		Transfer-Encoding: chunked
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip
		Connection: close

		client_id=containers%2Fimage&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull,push repository:team/base:pull",
			scope: "repository:team/app:pull,push repository:team/base:pull", refresh: "same",
			log: map[string]string{"client": "containers/image"}}},
	{"skopeo delete asks for the action *", recordedChunked(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: skopeo/1.9.3
		Transfer-Encoding: chunked
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip
		Connection: close

		client_id=containers%2Fimage&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3A%2A&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull,push,delete",
			scope: "repository:team/app:pull,push,delete", refresh: "same"}},

	// google/go-containerregistry, pkg/v1/remote/transport/bearer.go: refreshBasic and
	// refreshOauth.
	{"crane push", recorded(`
		GET {mount}{path}?scope=repository%3Ateam%2Fapp%3Apush%2Cpull&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: crane/0.20.6 go-containerregistry/0.20.6
		Authorization: Basic {alice}
		Accept-Encoding: gzip

		`), want{status: 200, granted: "repository:team/app:push,pull"}},
	{"crane with an identity token", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: crane/0.20.6 go-containerregistry/0.20.6
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip

		client_id=go-containerregistry%2F0.20.6&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},

	// oras-project/oras-go, registry/remote/auth/client.go: fetchDistributionToken and
	// fetchOAuth2Token.
	{"oras push", recorded(`
		GET {mount}{path}?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: oras/1.2.3
		Authorization: Basic {alice}
		Accept-Encoding: gzip

		`), want{status: 200, granted: "repository:team/app:pull,push"}},
	{"oras with a refresh token", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: oras/1.2.3
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip

		client_id=oras-go&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},
	{"helm registry login", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: Helm/3.18.4
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded
		Accept-Encoding: gzip

		client_id=oras-go&grant_type=password&password=wonderland&service=registry.example&username=alice`),
		want{status: 200, granted: "-", scope: "-"}},

	// regclient/regclient, internal/auth/auth.go: bearer's tryPost and tryGet.
	{"regctl with a password", recorded(`
		GET {mount}{path}?account=alice&client_id=regclient&offline_token=true&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example HTTP/1.1
		Host: {host}
		User-Agent: regclient/regctl (v0.8.3)
		Accept: application/json
		Authorization: Basic {alice}
		Accept-Encoding: gzip

		`), want{status: 200, granted: "repository:team/app:pull,push", refresh: "new"}},
	{"regctl with a refresh token", recorded(`
		POST {mount}{path} HTTP/1.1
		Host: {host}
		User-Agent: regclient/regctl (v0.8.3)
		Content-Length: {length}
		Content-Type: application/x-www-form-urlencoded; charset=utf-8
		Accept-Encoding: gzip

		client_id=regclient&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&service=registry.example`),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},
}

// mistyped is a password that two requests of one client carry.
const mistyped = "wonderlnad-mistyped"

// recorded is a request whose lines are indented like the table. {length} is the body's length;
// {alice} and the like are encoded credentials.
func recorded(text string) func(p *client) string {
	return func(p *client) string {
		head, body := unindent(text)
		body = p.expand(strings.ReplaceAll(body, "{mistyped}", mistyped))
		return p.recordedHead(head, len(body)) + body
	}
}

func recordedChunked(text string) func(p *client) string {
	return func(p *client) string {
		head, body := unindent(text)
		return p.recordedHead(head, 0) + chunked(p.expand(body))
	}
}

func unindent(text string) (head, body string) {
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		lines = append(lines, strings.TrimLeft(strings.TrimSuffix(line, "\n"), "\t"))
	}
	head, body, _ = strings.Cut(strings.Join(lines, "\r\n"), "\r\n\r\n")
	return head + "\r\n\r\n", body
}

func (p *client) recordedHead(head string, length int) string {
	p.keepSecret(alicePassword, mistyped)
	head = strings.ReplaceAll(head, "{length}", strconv.Itoa(length))
	for name, credentials := range map[string]func() string{
		"{alice}":            func() string { return alice + ":" + alicePassword },
		"{alice-mistyped}":   func() string { return alice + ":" + mistyped },
		"{refresh-password}": func() string { return ":" + p.fetched("refresh") },
	} {
		if strings.Contains(head, name) {
			head = strings.ReplaceAll(head, name, encode(credentials()))
		}
	}
	return p.expand(head)
}

// chunkedPost sends a form in chunks.
func chunkedPost(form string) func(p *client) string {
	return func(p *client) string {
		head := "POST {mount}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" +
			formType + "\r\n\r\n"
		return p.expand(head) + chunked(p.expand(form))
	}
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func itoa36(i int) string { return strconv.FormatInt(int64(i), 36) }
