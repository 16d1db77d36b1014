package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"time"

	"dockerauth/service"
)

// The bounds of asking a web server that may be hostile.
const (
	requestTimeout = 5 * time.Second // for one request; docker gives up after 15 s
	probeTimeout   = time.Minute     // for all of them
	maxResponse    = 64 << 10        // bytes of a body and of its headers; crane reads no more of a token's answer
	maxQuoted      = 200             // bytes of what a server says that are shown
	expiresSoon    = 14 * 24 * time.Hour
	checkAccount   = service.CheckClient // the account that check gives; PAM is never asked about it
)

// httpClient sends requests to a web server as docker does, but follows no redirect and uses no
// proxy: it examines this server.
type httpClient struct {
	ctx    context.Context
	client *http.Client
}

// newHTTPClient makes a client; roots nil = the system's. limit is for one request.
func newHTTPClient(ctx context.Context, roots *x509.CertPool, limit time.Duration, now func() time.Time) httpClient {
	return httpClient{ctx: ctx, client: &http.Client{
		Timeout:       limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{RootCAs: roots, Time: now},
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxResponse,
		},
	}}
}

// dialTo makes the client connect to one address, whatever a URL's host is; "" = it does not.
func (a httpClient) dialTo(address string) httpClient {
	if address != "" {
		var d net.Dialer
		transport := a.client.Transport.(*http.Transport)
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		}
	}
	return a
}

// response is an answer, read to its end or its bound.
type response struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
	tls    *tls.ConnectionState // nil = plain HTTP
	answer answerBody
	local  bool // from this machine
}

// answerBody is the JSON of the token endpoint: errors, or a token.
type answerBody struct {
	Errors []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
	Error string `json:"error"`
	Token string `json:"token"`
}

// code and message are of the first error in the list, "" where there is none.
func (s answerBody) code() string {
	if len(s.Errors) == 0 {
		return ""
	}
	return s.Errors[0].Code
}

func (s answerBody) message() string {
	if len(s.Errors) == 0 {
		return ""
	}
	return s.Errors[0].Message
}

// ask sends one request. body may be nil.
func (a httpClient) ask(method, address string, header http.Header, body io.Reader) (response, error) {
	var local bool
	ctx := httptrace.WithClientTrace(a.ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		local = isOwnAddress(info.Conn)
	}})
	q, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return response{}, err
	}
	for name, values := range header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", checkAccount)
	began := time.Now()
	answer, err := a.client.Do(q)
	if err != nil {
		return response{local: local}, err
	}
	defer answer.Body.Close()
	r := response{status: answer.StatusCode, header: answer.Header, tls: answer.TLS, local: local}
	r.body, err = io.ReadAll(io.LimitReader(answer.Body, maxResponse))
	r.took = time.Since(began)
	if err != nil {
		return response{}, err
	}
	_ = json.Unmarshal(r.body, &r.answer) // what is not JSON leaves it empty
	return r, nil
}

// isOwnAddress reports that both ends of a connection are on this machine: it then has one address.
func isOwnAddress(conn net.Conn) bool {
	here, isTCP := conn.LocalAddr().(*net.TCPAddr)
	there, _ := conn.RemoteAddr().(*net.TCPAddr)
	return isTCP && (there.IP.IsLoopback() || there.IP.Equal(here.IP))
}

func (r response) isRedirect() bool { return r.status >= 300 && r.status < 400 }

func (r response) isJSON() bool { return json.Valid(r.body) }

func (r response) media() string {
	media, _, _ := mime.ParseMediaType(r.header.Get("Content-Type")) // "" does not match any type
	return media
}

func (r response) isHTML() bool {
	return strings.Contains(r.media(), "html") || bytes.HasPrefix(bytes.TrimSpace(r.body), []byte("<"))
}

// isProgram recognises the beginning of an executable file (elf(5)).
func (r response) isProgram() bool { return bytes.HasPrefix(r.body, []byte("\x7fELF")) }

// location is where a redirect leads, without what may be secret in it.
func (r response) location() string {
	u, err := url.Parse(r.header.Get("Location"))
	if err != nil {
		return "somewhere that is no URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return quoteShort(u.String())
}

// quoteShort quotes the beginning of a server's text.
func quoteShort(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(text, "\uFFFD"))
}

// describeTransportError says why there was no answer: what happened, what follows from it, what to
// do.
func describeTransportError(err error) (what, why, remedy string) {
	var name *net.DNSError
	var wrapped *url.Error
	switch {
	case errors.As(err, &name) && !name.IsNotFound:
		return "this machine cannot look the name up: " + quoteShort(name.Name) + ": " + quoteShort(name.Err),
			"whether clients can is not seen from here",
			"see to the name servers in /etc/resolv.conf, and whether a firewall is in the way"
	case errors.As(err, &name):
		return "the name " + quoteShort(name.Name) + " is not found: " + quoteShort(name.Err),
			"clients do not find it either",
			"see to the name's address in the DNS, or correct the URL"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused", "nobody listens at that address and port",
			"start the web server, or correct the port"
	case isTimeout(err):
		return "there is no answer in time", "docker gives up after 15 seconds",
			"see whether the service runs, and whether a firewall is in the way"
	case strings.Contains(err.Error(),
		"server gave HTTP response to HTTPS client"): // of net/http, which has no type for it
		return "it speaks plain HTTP, not HTTPS", "clients refuse to talk to it",
			"switch TLS on for this port, or correct the URL"
	}
	if what, why, remedy, ok := describeTLSError(err); ok {
		return what, why, remedy
	}
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the rest repeats the URL
	}
	return "there is no usable answer: " + quoteShort(err.Error()), "clients get none either",
		"see the web server's error log"
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// describeTLSError says what is wrong with a server's certificate.
func describeTLSError(err error) (what, why, remedy string, ok bool) {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var failed *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("its certificate is good from %s to %s, and it is not that time",
				day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter)),
			`docker says "x509: certificate has expired or is not yet valid"`,
			"renew the certificate and reload the web server; if its dates are right, set this machine's clock", true
	case errors.As(err, &host):
		return fmt.Sprintf("its certificate is not for %s but for %s", quoteShort(host.Host),
				quoteShort(strings.Join(host.Certificate.DNSNames, ", "))),
			"docker refuses it", "get a certificate for that name, or use the name of the certificate in the realm",
			true
	case errors.As(err, &unknown):
		if unknown.Cert != nil && bytes.Equal(unknown.Cert.RawIssuer, unknown.Cert.RawSubject) {
			return "its certificate is self-signed and this machine does not trust it",
				`docker says "x509: certificate signed by unknown authority"`,
				trustCA, true
		}
		return "its certificate is signed by an authority that this machine does not trust",
			`docker says "x509: certificate signed by unknown authority"`,
			"if it is from a public CA, serve the intermediate certificates as well (fullchain.pem); else " + trustCA,
			true
	case errors.As(err, &failed):
		return "its certificate is not accepted: " + quoteShort(failed.Err.Error()), "docker refuses it",
			"get another certificate", true
	}
	return "", "", "", false
}

const trustCA = "add the certificate of the CA that signed it to the system's (Debian: " +
	"/usr/local/share/ca-certificates/NAME.crt, then update-ca-certificates), here and on every client; " +
	"docker also looks in /etc/docker/certs.d/REGISTRY:PORT/ca.crt"

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }
