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
	{"docker login", recordedGet("Docker-Client/28.2.2 (linux)",
		"account=alice&client_id=docker&offline_token=true&"+serviceIs,
		"Authorization: Basic {alice}", acceptGzip, closing),
		want{status: 200, granted: "-", refresh: "new",
			log: map[string]string{"client": "docker", "account": alice, "user": alice}}},
	{"docker login, again with the refresh token it kept", recordedPost("Docker-Client/28.2.2 (linux)",
		"client_id=docker&grant_type=refresh_token&refresh_token={refresh}&scope=&"+serviceIs,
		formType, acceptGzip, closing),
		want{status: 200, granted: "-", scope: "-", refresh: "same", log: map[string]string{"client": "docker"}}},
	{"docker push with a password", recordedGet(dockerd,
		"account=alice&scope=repository%3Ateam%2Fapp%3Apush%2Cpull&scope=repository%3Ateam%2Fbase%3Apull&"+serviceIs,
		"Authorization: Basic {alice}", acceptGzip, closing),
		want{status: 200, granted: "repository:team/app:push,pull repository:team/base:pull"}},
	{"docker push with a refresh token", recordedPost(dockerd,
		"client_id=docker&grant_type=refresh_token&refresh_token={refresh}"+
			"&scope=repository%3Ateam%2Fapp%3Apush%2Cpull+repository%3Ateam%2Fbase%3Apull&"+serviceIs,
		formType, acceptGzip, closing),
		want{status: 200, granted: "repository:team/app:push,pull repository:team/base:pull",
			scope: "repository:team/app:push,pull repository:team/base:pull", refresh: "same"}},

	// containerd, core/remotes/docker/auth/fetch.go: FetchTokenWithOAuth, then FetchToken.
	{"containerd asks by POST first", recordedPost("containerd/v2.1.1",
		"client_id=containerd-client&grant_type=password&password=wonderland&scope=repository%3Ateam%2Fapp%3Apull&"+
			serviceIs+"&username=alice",
		utf8FormType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull",
			log: map[string]string{"client": "containerd-client"}}},
	{"containerd asks by POST with a mistyped password", recordedPost("containerd/v2.1.1",
		"client_id=containerd-client&grant_type=password&password={mistyped}&scope=repository%3Ateam%2Fapp%3Apull&"+
			serviceIs+"&username=alice",
		utf8FormType, acceptGzip),
		unauthorized("")},
	{"containerd then asks by GET with the same mistyped password", recordedGet("containerd/v2.1.1",
		"scope=repository%3Ateam%2Fapp%3Apull&"+serviceIs, "Authorization: Basic {alice-mistyped}", acceptGzip),
		unauthorized("")},
	{"containerd hands a refresh token over by POST", recordedPost("containerd/v2.1.1",
		"client_id=containerd-client&grant_type=refresh_token&refresh_token={refresh}"+
			"&scope=repository%3Ateam%2Fapp%3Apull&"+serviceIs,
		utf8FormType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},

	// moby/buildkit: session/auth/authprovider on the client's side, util/resolver on the daemon's.
	{"buildkit on the client's side", recordedPost("buildkit/v0.22",
		"client_id=buildkit-client&grant_type=password&password=wonderland"+
			"&scope=repository%3Ateam%2Fapp%3Apull+repository%3Ateam%2Fapp%3Apull%2Cpush&"+serviceIs+"&username=alice",
		utf8FormType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull,push", scope: "repository:team/app:pull,push"}},
	{"buildkit on the daemon's side, with a token as the password of an empty user name", recordedGet("buildkit/v0.22",
		"scope=repository%3Ateam%2Fapp%3Apull%2Cpush&"+serviceIs,
		"Authorization: Basic {refresh-password}", acceptGzip),
		want{status: 200, granted: "repository:team/app:pull,push"}},

	// containers/image, docker/docker_client.go: getBearerToken and getBearerTokenOAuth2.
	{"podman login", recordedGet("libpod/4.3.1", "account=alice&"+serviceIs,
		"Authorization: Basic {alice}", "Docker-Distribution-Api-Version: registry/2.0", acceptGzip, closing),
		want{status: 200, granted: "-", log: map[string]string{"account": alice}}},
	{"skopeo copy with a password", recordedGet("skopeo/1.9.3",
		"account=alice&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull&"+serviceIs,
		"Authorization: Basic {alice}", acceptGzip, closing),
		want{status: 200, granted: "repository:team/app:pull,push repository:team/base:pull"}},
	{"skopeo with an identity token posts in chunks, without a length", recordedChunked("skopeo/1.9.3",
		"client_id=containers%2Fimage&grant_type=refresh_token&refresh_token={refresh}"+
			"&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull&"+serviceIs,
		formType, acceptGzip, closing),
		want{status: 200, granted: "repository:team/app:pull,push repository:team/base:pull",
			scope: "repository:team/app:pull,push repository:team/base:pull", refresh: "same",
			log: map[string]string{"client": "containers/image"}}},
	{"skopeo delete asks for the action *", recordedChunked("skopeo/1.9.3",
		"client_id=containers%2Fimage&grant_type=refresh_token&refresh_token={refresh}"+
			"&scope=repository%3Ateam%2Fapp%3A%2A&"+serviceIs,
		formType, acceptGzip, closing),
		want{status: 200, granted: "repository:team/app:pull,push,delete",
			scope: "repository:team/app:pull,push,delete", refresh: "same"}},

	// google/go-containerregistry, pkg/v1/remote/transport/bearer.go: refreshBasic and
	// refreshOauth.
	{"crane push", recordedGet("crane/0.20.6 go-containerregistry/0.20.6",
		"scope=repository%3Ateam%2Fapp%3Apush%2Cpull&"+serviceIs,
		"Authorization: Basic {alice}", acceptGzip),
		want{status: 200, granted: "repository:team/app:push,pull"}},
	{"crane with an identity token", recordedPost("crane/0.20.6 go-containerregistry/0.20.6",
		"client_id=go-containerregistry%2F0.20.6&grant_type=refresh_token&refresh_token={refresh}"+
			"&scope=repository%3Ateam%2Fapp%3Apull&"+serviceIs,
		formType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},

	// oras-project/oras-go, registry/remote/auth/client.go: fetchDistributionToken and
	// fetchOAuth2Token.
	{"oras push", recordedGet("oras/1.2.3", "scope=repository%3Ateam%2Fapp%3Apull%2Cpush&"+serviceIs,
		"Authorization: Basic {alice}", acceptGzip),
		want{status: 200, granted: "repository:team/app:pull,push"}},
	{"oras with a refresh token", recordedPost("oras/1.2.3",
		"client_id=oras-go&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&"+
			serviceIs,
		formType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},
	{"helm registry login", recordedPost("Helm/3.18.4",
		"client_id=oras-go&grant_type=password&password=wonderland&"+serviceIs+"&username=alice",
		formType, acceptGzip),
		want{status: 200, granted: "-", scope: "-"}},

	// regclient/regclient, internal/auth/auth.go: bearer's tryPost and tryGet.
	{"regctl with a password", recordedGet("regclient/regctl (v0.8.3)",
		"account=alice&client_id=regclient&offline_token=true&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&"+serviceIs,
		"Accept: application/json", "Authorization: Basic {alice}", acceptGzip),
		want{status: 200, granted: "repository:team/app:pull,push", refresh: "new"}},
	{"regctl with a refresh token", recordedPost("regclient/regctl (v0.8.3)",
		"client_id=regclient&grant_type=refresh_token&refresh_token={refresh}&scope=repository%3Ateam%2Fapp%3Apull&"+
			serviceIs,
		utf8FormType, acceptGzip),
		want{status: 200, granted: "repository:team/app:pull", scope: "repository:team/app:pull", refresh: "same"}},
}

// mistyped is a password that two requests of one client carry.
const mistyped = "wonderlnad-mistyped"

// The headers that several clients have in common.
const (
	acceptGzip   = "Accept-Encoding: gzip"
	closing      = "Connection: close"
	utf8FormType = formType + "; charset=utf-8"
	dockerd      = "docker/28.2.2 go/go1.24.4 git-commit/45873be kernel/6.1.0 os/linux arch/amd64 " +
		`UpstreamClient(Docker-Client/28.2.2 \(linux\))`
)

// recordedGet and the others are a client's requests, with placeholders. {alice} and the like are
// encoded credentials.
func recordedGet(userAgent, query string, headers ...string) func(c *client) string {
	return func(c *client) string {
		return c.recordedHead("GET {mount}{path}?"+query, userAgent, headers...)
	}
}

func recordedPost(userAgent, form string, headers ...string) func(c *client) string {
	return func(c *client) string {
		body := c.expand(strings.ReplaceAll(form, "{mistyped}", mistyped))
		length := "Content-Length: " + strconv.Itoa(len(body))
		return c.recordedHead("POST {mount}{path}", userAgent, append([]string{length}, headers...)...) + body
	}
}

func recordedChunked(userAgent, form string, headers ...string) func(c *client) string {
	return func(c *client) string {
		all := append([]string{"Transfer-Encoding: chunked"}, headers...)
		return c.recordedHead("POST {mount}{path}", userAgent, all...) + chunked(c.expand(form))
	}
}

func (c *client) recordedHead(request, userAgent string, headers ...string) string {
	c.keepSecret(alicePassword, mistyped)
	head := request + " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: " + userAgent + "\r\n" +
		strings.Join(headers, "\r\n") + "\r\n\r\n"
	for name, credentials := range map[string]func() string{
		"{alice}":            func() string { return alice + ":" + alicePassword },
		"{alice-mistyped}":   func() string { return alice + ":" + mistyped },
		"{refresh-password}": func() string { return ":" + c.fetched("refresh") },
	} {
		if strings.Contains(head, name) {
			head = strings.ReplaceAll(head, name, encode(credentials()))
		}
	}
	return c.expand(head)
}

// chunkedPost sends a form in chunks.
func chunkedPost(form string) func(c *client) string {
	return func(c *client) string {
		head := "POST {mount}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" +
			formType + "\r\n\r\n"
		return c.expand(head) + chunked(c.expand(form))
	}
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func itoa36(i int) string { return strconv.FormatInt(int64(i), 36) }
