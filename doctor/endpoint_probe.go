package doctor

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dockerauth/service"
)

// endpointProbe asks one token endpoint through its web server. PAM is never asked about its
// credentials, and the throttle does not count them.
type endpointProbe struct {
	*checkup
	httpClient
	base    *url.URL
	service string // an audience to ask for; "" = none is known

	*handover // nil = it is another machine's, or not known
}

// get asks with parameters and, unless it is "", an Authorization header.
func (p *endpointProbe) get(params url.Values, authorization string) (response, error) {
	u := *p.base
	u.RawQuery = params.Encode()
	header := http.Header{}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	return p.ask(http.MethodGet, u.String(), header, nil)
}

// params are those of every request for a token.
func (p *endpointProbe) params() url.Values {
	params := url.Values{"client_id": {checkAccount}}
	if p.service != "" {
		params.Set("service", p.service)
	}
	return params
}

// connectionBroke reports a connection that breaks after it has worked.
func (p *endpointProbe) connectionBroke(subject string, err error) bool {
	what, why, remedy := describeTransportError(err)
	p.fail(subject, "connection-broke", what, why, remedy)
	return false
}

// mount is the folder of the URL that holds the program or the drop-in, without a slash at its end.
func (p *endpointProbe) mount() (string, bool) {
	path := strings.TrimSuffix(p.base.Path, "/")
	for _, end := range []string{realmEnd, autoredirectEnd} {
		if mount, ok := strings.CutSuffix(path, end); ok {
			return mount, true
		}
	}
	return "", false
}

// unique sorts names and drops doubles.
func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// The resources below the folder that the web server serves the program from.
const (
	realmEnd        = service.TokenPath
	autoredirectEnd = service.AliasPath
)
