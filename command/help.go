package command

const help = `dockerauth issues Docker registry tokens to people who have a Unix account.

A web server starts it: as a CGI program, or as a FastCGI program with its
socket as standard input. It then reads config.yml from its own folder, or
/etc/dockerauth/config.yml, and needs no arguments. By hand:

  dockerauth init    --issuer I --audience A        make key, certificate and config.yml
  dockerauth key rotate                             exchange the signing key
  dockerauth jwks                                   print the public keys for a registry 3.x
  dockerauth check                                  say what is wrong with an installation
  dockerauth http    --listen HOST:PORT             serve HTTP, for a proxy in front
  dockerauth fastcgi --listen unix:PATH             serve FastCGI
  dockerauth explain USER SCOPE…                    say what rules grant, and why
  dockerauth token issue|list|show|rotate|revoke    make, list and take back tokens for people and jobs
  dockerauth logins                                 list the logins of docker login
  dockerauth completion bash|zsh|fish               print completion for a shell
  dockerauth version                                print the version
  dockerauth help [COMMAND]                         print this, or more on a command

After a command, --help prints more on it. A flag is given once, unless it is a list.

Status 0: done; 1: it did not work; 2: it was called wrongly. check and explain say
more with it: see their help.

Example:

  dockerauth http --config /etc/dockerauth/config.yml --listen 127.0.0.1:5002
`

const helpHTTP = `dockerauth http serves the token endpoint over HTTP until SIGTERM.

  dockerauth http [--config FILE] --listen HOST:PORT [--admin ADDRESS]

  --config FILE       default: config.yml beside the binary, else /etc/dockerauth/config.yml
  --listen HOST:PORT  left out when systemd hands over a socket (LISTEN_FDS)
  --admin ADDRESS     HOST:PORT or unix:PATH: answer /livez, /readyz, /healthz and
                      /metrics there, to anyone who can connect; they name no account
                      and no client

It speaks plain HTTP: let it listen on loopback, behind a proxy that does TLS.
A changed configuration, key or certificate is noticed within two seconds, or at
once on SIGHUP; when the new one is not usable, the old one stays in force.
Without a usable one at its start it ends, but behind a socket of systemd's it
answers 503 until there is one.

Status 0: a signal ended it; 1: it could not start; 2: it was called wrongly.

Example:

  dockerauth http --config /etc/dockerauth/config.yml --listen 127.0.0.1:5002
`

const helpFastCGI = `dockerauth fastcgi serves the token endpoint over FastCGI until SIGTERM.

  dockerauth fastcgi [--config FILE] --listen unix:PATH|tcp:HOST:PORT [--admin ADDRESS]

  --config FILE     default: config.yml beside the binary, else /etc/dockerauth/config.yml
  --listen ADDRESS  left out when systemd hands over a socket (LISTEN_FDS), or when
                    standard input is one (mod_fcgid, spawn-fcgi)
  --admin ADDRESS   HOST:PORT or unix:PATH: answer /livez, /readyz, /healthz and
                    /metrics there, to anyone who can connect; they name no account
                    and no client

A unix socket is made with mode 0660: the web server's group must be the
service's. Anyone who can connect can name any client address: over TCP that is
every user of the machine. A changed configuration, key or certificate is
noticed within two seconds, or at once on SIGHUP; when the new one is not
usable, the old one stays in force. Without a usable one at its start it ends,
but behind a socket of systemd's it answers 503 until there is one.

Status 0: a signal ended it; 1: it could not start; 2: it was called wrongly.

Example:

  dockerauth fastcgi --listen unix:/run/dockerauth/dockerauth.sock
`

const helpExplain = `dockerauth explain says what the access rules grant to an account, and why.

  dockerauth explain [--config FILE] [--groups A,B] [--from IP] [--service S] USER SCOPE…

  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml
  --groups A,B   the account's groups, --groups= for none; default: what this machine says
  --from IP      the client's address; without one, rules with "from" do not match
  --service S    the audience; needed when there are several

USER is a name that id -un shows, or anyone for a client without
credentials. SCOPE is what a registry asks for: repository:NAME:ACTION,ACTION or
registry:catalog:*. For each action a line says whether it is granted, and by
which rule, or what the nearest rule lacked.

Status 0: all is granted; 1: not all; 2: the question could not be answered; 3: it was
answered, but there is no such account, type, action or name of a repository.

Example:

  dockerauth explain --groups developers alice repository:web/app:pull,push
`

const helpKey = `dockerauth key rotate exchanges the key that signs tokens, in three steps. No login
and no pull fails meanwhile.

  dockerauth key rotate [--config FILE] [--key-type p256|rsa|ed25519] [--bundle FILE]
  dockerauth key rotate [--config FILE] --switch
  dockerauth key rotate [--config FILE] --retire [--force] [--bundle FILE]

  --config FILE    default: config.yml beside the binary, else /etc/dockerauth/config.yml
  --key-type TYPE  default: that of the key that signs
  --bundle FILE    for the certificates; default: bundle.pem beside the certificate.
                   - is standard output, and all else goes to standard error
  --switch         the new key signs, and the old one still verifies refresh tokens
  --retire         the old key verifies no longer. Refused until refresh_token_ttl has
                   passed since the switch
  --force          retire at once: users with a refresh token of the old key log in again

The first step makes a key and a certificate beside those in use, with the date in
their names, lists the key in previous_keys and writes both certificates into the
bundle, for the registries. Each step prints the next one, and what registries need
before it. Nothing is overwritten but config.yml, and a bundle that has nothing else
in it than certificates of these keys. A step that is repeated changes nothing.

Status 0: done; 1: it could not be done; 2: it was called wrongly.

Example:

  dockerauth key rotate --config /etc/dockerauth/config.yml
`

const helpJWKS = `dockerauth jwks prints the public keys as a JWK set, for "jwks" of a registry 3.x:
those of private_key and of previous_keys, each under both ids that tokens may bear.

  dockerauth jwks [--config FILE]

  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml

A registry that has jwks and no rootcertbundle refuses tokens that carry a certificate:
then leave certificate out of config.yml. It reads the file when it starts.

Status 0: done; 1: the configuration cannot be used; 2: it was called wrongly.

Example:

  dockerauth jwks --config /etc/dockerauth/config.yml >/etc/docker/registry/jwks.json
`

const helpInit = `dockerauth init makes what a new installation lacks, and prints what the registry
and the web server need. Nothing that is there is overwritten.

  dockerauth init [--dir DIR] --issuer ISSUER --audience AUDIENCE... [--realm URL]
                  [--key-type p256|rsa|ed25519] [--group GROUP] [--pam-dir DIR]
                  [--accounts KIND]
  dockerauth init [--dir DIR] --renew-certificate

  --issuer ISSUER      the name of this service: "issuer" of the registry
  --audience AUDIENCE  the name of a registry: its "service"; once for each registry.
                       These two may be left out when config.yml is there and says them
  --dir DIR            default: /etc/dockerauth
  --realm URL          the token endpoint as clients see it; default: when the issuer
                       is a host name, https://ISSUER/docker/v2/token
  --key-type TYPE      default: p256. A 2.8 registry does not start with ed25519
  --group GROUP        that may read the key; default: dockerauth if root runs this
                       and there is such a group, else the group of who runs it
  --pam-dir DIR        default: for root /etc/pam.d, for others pam.d in --dir
  --accounts KIND      which PAM service file: local, sssd (LDAP, Active Directory),
                       sssd-local (both), krb5, oath, google-authenticator, faillock,
                       access; default: local. A file as shipped is replaced
  --renew-certificate  put a new certificate for the same key in place of the one that
                       is there. Every registry needs a copy of it

In --dir it makes privkey.pem (mode 0640), cert.pem (self-signed, no CA, good for
ten years) and config.yml, and the PAM service file dockerauth in --pam-dir. A key
that is there is used, and gets a certificate if it has none. A config.yml with
empty issuer and audience, as packages install it, is filled in; any other is left
as it is, and must agree with what is given here. When something cannot be made, nothing is.

Status 0: all is there; 1: it could not be made; 2: it was called wrongly.

Example:

  dockerauth init --issuer auth.example.com --audience registry.example.com
`

const helpCheck = `dockerauth check looks at an installation and says what is wrong with it.

  dockerauth check [--config FILE] [--as USER[:GROUP,GROUP] [--program FILE]]
                   [--registry-config FILE] [--registry URL] [--url URL] [--login USER]
                   [--quiet | --json]

Without flags it looks for what runs on this machine: the service's unit and user, the
web server and the URL that it has the endpoint at, and a registry's configuration. It
names what it has found, and what it was not asked to look at. Run it as root.

  --config FILE           default: config.yml beside the binary, else /etc/dockerauth/config.yml
  --as USER               the service's user (of the packages: dockerauth), or the web
                          server's where that starts the program: what that user may
                          read, write and ask is tried, by starting this program file as
                          them, so that a set-group-id bit counts. Takes root. The groups
                          that dockerauth.service gives its user are found out; those of
                          another service manager: --as USER:GROUP,GROUP
  --program FILE          the program file that the web server starts, if it is another
                          than this one: --as starts it, and root does not
  --registry-config FILE  the registry's own config.yml: realm, service and issuer are
                          compared with dockerauth's letter by letter, and a token with
                          its bundle or JWKS, by the rules of registry 2.8, 3.0 and 3.1
  --registry URL          the running registry is asked where it sends clients, whether it
                          takes dockerauth's tokens, and what time it has
  --url URL               the token endpoint as docker sees it, asked through the web server
                          without an account: PAM is not asked
  --login USER            holds a conversation with PAM as the current user, and shows name,
                          groups and what the rules give; the password is asked for at
                          the terminal, or read from the first line of standard input.
                          A token is not tried
  --quiet                 warnings and errors only
  --json                  {"findings": [{"level", "code", "subject", "what", "why", "remedy"}], "status"};
                          docs/check.schema.json describes it

A finding has a level (ok, not asked, warning, error), what was looked at and what is
so. Warnings and errors have a code in brackets, which stays the same, and two more
lines: "why:" is what follows, "fix:" is a command to copy or what to write. The last
line counts them. No line holds a key or a password. What depends on config.yml is
looked at once that can be read.

Status 0: all is well; 1: warnings; 2: errors, or it was called wrongly.

Example:

  dockerauth check --url https://auth.example.com/docker/v2/token
`

const helpToken = `dockerauth token is for tokens that people and jobs use as a password.

  dockerauth token issue      make a token, and print it
  dockerauth token list       list tokens
  dockerauth token show       show the record of a token
  dockerauth token rotate     replace a token, and print the new one
  dockerauth token revoke     take back tokens and logins

A token belongs to an account, and allows a part of what the account may do. A personal
token has the account's user name. A robot token is for a job: its user name is
ACCOUNT+NAME. A token begins with dka_ and its ID, which lists and the log show too.

Run this as root, or as the user of the service. The tokens are in the folder or on the
server that "state" in config.yml names.

Status 0: done; 1: it did not work; 2: it was called wrongly.

Example:

  dockerauth token issue --help
`

const helpTokenIssue = `dockerauth token issue makes a token and prints it, alone, on standard output. It
cannot be shown again. What it is good for is on standard error.

  dockerauth token issue --user USER [--robot NAME] --scope SCOPE… [--expires TIME]
                         [--from ADDRESS…] [--note TEXT] [--keep] [--config FILE]

  --user USER     the account that it belongs to
  --robot NAME    for a job: the user name is USER+NAME. Without it the token is personal
  --scope SCOPE   what it may be used for: TYPE:PATTERN:ACTION,ACTION. Patterns are those
                  of access rules, and * is every action. At each use this is compared
                  with what the account may do, and what both allow is granted.
                  Repeat the flag for more
  --expires TIME  how long it lasts: 1h to 3650d, default: 90d
  --from ADDRESS  an address or a prefix that it is accepted from; default: all. Repeat
                  the flag for more
  --note TEXT     a text for lists
  --keep          a new password of the account does not end it. A robot's never ends so
  --config FILE   default: config.yml beside the binary, else /etc/dockerauth/config.yml

Status 0: done; 1: it did not work, and there is no token; 2: it was called wrongly.

Example:

  dockerauth token issue --user alice --scope 'repository:alice/**:pull' --from 10.0.0.0/8
`

const helpTokenList = `dockerauth token list lists tokens that have not expired, revoked ones included.

  dockerauth token list [--user USER] [--json] [--config FILE]

  --user USER    those of one account, or of a robot: alice+jenkins
  --json         as JSON, with all that is known of each
  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml

No list has a token itself: the store does not have it either.

Status 0: done, also if there are none; 1: it did not work; 2: it was called wrongly.

Example:

  dockerauth token list --user alice
`

const helpTokenShow = `dockerauth token show shows a token's record.

  dockerauth token show ID [--json] [--config FILE]

  --json         as JSON
  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml

Status 0: done; 1: it did not work; 2: it was called wrongly.

Example:

  dockerauth token show 4fzR7cQ0kX
`

const helpTokenRotate = `dockerauth token rotate replaces a token and prints the new one, alone, on standard
output. That has the same user name and scopes, and lasts as long as the old one did when
it was new. The old one is accepted for a while.

  dockerauth token rotate ID [--overlap TIME] [--config FILE]

  --overlap TIME  how long the old one is accepted: 0s to 3650d, default: 24h
  --config FILE   default: config.yml beside the binary, else /etc/dockerauth/config.yml

Status 0: done; 1: it did not work, and the old one is as it was; 2: it was called wrongly.

Example:

  dockerauth token rotate 4fzR7cQ0kX --overlap 7d
`

const helpTokenRevoke = `dockerauth token revoke takes back tokens and logins. They are refused from the next
request on, in every process and on every machine that shares the store.

  dockerauth token revoke ID… [--reason TEXT] [--config FILE]
  dockerauth token revoke --user USER [--kind KIND] [--reason TEXT] [--config FILE]
  dockerauth token revoke --all [--kind KIND] [--reason TEXT] [--config FILE]

ID is that of a token, or of a login as the log has it in the field "credential".

  --user USER    all that the account has. It need not exist any more. With the user name of a
                 robot: the tokens of that robot
  --all          all that everybody has: after an incident, or when the store has come back from a
                 backup, which does not know the last revocations
  --kind KIND    refresh (the logins of docker login), personal, robot or all; default: all
  --reason TEXT  for the log and for lists
  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml

It asks nothing. Access tokens that clients have got already last for access_token_ttl.

Status 0: done; 1: it did not work, or some ID is of no token: the others are revoked; or nothing
is known of USER; 2: it was called wrongly, and nothing is revoked.

Example:

  dockerauth token revoke --user alice --reason 'stolen laptop'
`

const helpLogins = `dockerauth logins lists the logins of docker login, as far as the store knows them. Each
is a refresh token on some machine, which lasts until it expires or is revoked.

  dockerauth logins [--user USER] [--json] [--config FILE]

  --user USER    those of one account
  --json         as JSON
  --config FILE  default: config.yml beside the binary, else /etc/dockerauth/config.yml

Status 0: done, also if there are none; 1: it did not work; 2: it was called wrongly.

Example:

  dockerauth logins --user alice
`

const helpCompletion = `dockerauth completion prints completion for a shell. The packages install it.

  dockerauth completion bash|zsh|fish

In bash it needs no bash-completion; in zsh, compinit comes first.

Status 0: it is printed; 2: it was called wrongly.

Example:

  . <(dockerauth completion bash)
`

const helpVersion = `dockerauth version prints the version of the program, as -v, -V and --version do.

  dockerauth version

Example:

  dockerauth version
`
