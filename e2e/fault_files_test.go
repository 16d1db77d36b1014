package e2e

import (
	"os"
	"path/filepath"
	"strings"
)

// fileFault is a fault of a file that the service reads.
type fileFault struct {
	name string
	do   func(s *faultEnv, path, good string) error
}

var fileFaults = []fileFault{
	{"deleted", func(s *faultEnv, path, good string) error { return os.Remove(path) }},
	{"half written", func(s *faultEnv, path,
		good string) error {
		return os.WriteFile(path, []byte(cutInHalf(good)), 0)
	}},
	{"truncated", func(s *faultEnv, path, good string) error { return os.Truncate(path, 0) }},
	{"garbage", func(s *faultEnv, path, good string) error {
		return os.WriteFile(path, []byte("\x00\xff\x13garbage\n{]"), 0)
	}},
	{"unreadable", func(s *faultEnv, path, good string) error { return os.Chmod(path, 0) }},
}

// keyForAll makes the key readable for all users, who could then sign tokens.
var keyForAll = fileFault{"readable to others",
	func(s *faultEnv, path, good string) error { return os.Chmod(path, 0o644) }}

// fileFaultsOf are the faults of one file. In the short form key and certificate get the first ones
// only: the service treats them like config.yml.
func fileFaultsOf(file string) []fileFault {
	switch {
	case file == "config.yml":
		return fileFaults
	case file == "key.pem" && long():
		return append([]fileFault{keyForAll}, fileFaults...)
	case file == "key.pem":
		return []fileFault{keyForAll, fileFaults[0], fileFaults[1]}
	case long():
		return fileFaults
	}
	return fileFaults[:2]
}

// cutInHalf is cut in the middle of a line: in config.yml's audience, in a PEM file's base64.
func cutInHalf(text string) string {
	if i := strings.Index(text, "audience:"); i >= 0 {
		return text[:i+5]
	}
	return text[:len(text)/2]
}

// certified names the certificate in config.yml, so that it is used.
func certified(config string) string {
	return strings.Replace(config, "issuer:", `certificate: "cert.pem"`+"\nissuer:", 1)
}

func fileTests() []faultTest {
	var all []faultTest
	o := faultOptions{config: certified}
	for _, d := range []struct {
		frontend frontend
		long     bool
	}{{httpFrontend, false}, {apacheCGI, true}, {apacheFcgid, true}} {
		for _, file := range []string{"config.yml", "key.pem", "cert.pem"} {
			all = append(all, faultTest{name: "bad " + file, frontend: d.frontend, options: o, long: d.long,
				run: func(s *faultEnv) {
					for _, r := range fileFaultsOf(file) {
						s.runFileFault(file, r)
					}
				}})
		}
		all = append(all,
			faultTest{name: "key and certificate are changed", frontend: d.frontend, options: o, long: d.long,
				run: runNewKey},
			faultTest{name: "everything is swapped at once", frontend: d.frontend,
				options: faultOptions{config: certified, prepare: kubernetes}, long: d.long, run: runSwap})
	}
	return all
}

// excused503 is what a process without a usable configuration may answer: each CGI process, and
// those that mod_fcgid starts.
func (s *faultEnv) excused503() []int {
	if s.service != nil {
		return nil
	}
	return []int{503}
}

const (
	notUsable = "configuration is not usable"
	loaded    = "configuration loaded"
)

// runFileFault damages one file under load, waits until the service notices, and repairs it.
func (s *faultEnv) runFileFault(name string, r fileFault) {
	path := s.path(name)
	good := readFile(s.t, path)
	l := s.startLoad(s.excused503()...)
	l.more(1)
	noticed := s.notices(notUsable, l)
	if err := r.do(s, path, good); err != nil {
		s.t.Fatal(err)
	}
	noticed()
	l.some()
	better := s.notices(loaded, l)
	s.repair(path, good, r)
	normal := s.normal()
	better()
	l.more(1)
	got, lost := l.end()
	if s.service != nil && !s.service.running() {
		lost = append(lost, "the service has ended")
	}
	s.row(row{fault: name, done: r.name + ", then put right", got: got.String(), normal: normal}, lost)
}

// repair completes a half-written file and replaces others.
func (s *faultEnv) repair(path, good string, r fileFault) {
	s.t.Helper()
	if r.name != "half written" {
		s.replace(path, good)
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(good[len(cutInHalf(good)):]); err != nil {
		s.t.Fatal(err)
	}
}

// notices returns a function that waits until the service has noticed a change: a long-lived one
// logs it, CGI shows it in its answers.
func (s *faultEnv) notices(text string, l *backgroundLoad) func() {
	s.t.Helper()
	if s.frontend.name == apacheCGI.name {
		before := l.count("503")
		return func() {
			if text == notUsable {
				eventually(s.t, answerWithin, "a 503", func() bool { return l.count("503") > before })
			}
		}
	}
	before := s.countLogLines(text)
	return func() {
		s.t.Helper()
		eventually(s.t, answerWithin, "the log to say: "+text, func() bool { return s.countLogLines(text) > before })
	}
}

// runNewKey replaces the key and later the certificate. In between they do not match, and the old
// ones stay in force.
func runNewKey(s *faultEnv) {
	l := s.startLoad(s.excused503()...)
	l.more(1)
	key := makeKey(s.t, rsa2048)
	noticed := s.notices(notUsable, l)
	s.accept(key.Public())
	s.replace(s.keyFile, pemKey(s.t, key))
	noticed()
	l.some()
	s.replace(s.certFile, pemCertificate(makeCertificate(s.t, key)))
	normal := s.signedBy(key.Public())
	l.more(1)
	got, lost := l.end()
	s.row(row{fault: "key, then certificate", done: "each renamed over the old one", got: got.String(), normal: normal},
		lost)
}

// kubernetes lays the files out like a mounted secret: links into a folder that is itself a link.
func kubernetes(s *faultEnv) {
	version := s.path("mount/..v1")
	if err := os.MkdirAll(version, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"config.yml", "key.pem", "cert.pem"} {
		for _, err := range []error{
			os.Rename(s.path(name), filepath.Join(version, name)),
			os.Symlink("..data/"+name, s.path("mount/"+name)),
			os.Symlink("mount/"+name, s.path(name)),
		} {
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := os.Symlink("..v1", s.path("mount/..data")); err != nil {
		s.t.Fatal(err)
	}
}

// runSwap replaces key and certificate as the kubelet does: a new folder, and the link renamed to
// it.
func runSwap(s *faultEnv) {
	l := s.startLoad(s.excused503()...)
	l.more(1)
	key := makeKey(s.t, rsa2048)
	s.write("mount/..v2/config.yml", readFile(s.t, s.configFile))
	s.write("mount/..v2/cert.pem", pemCertificate(makeCertificate(s.t, key)))
	if err := os.Chmod(s.write("mount/..v2/key.pem", pemKey(s.t, key)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.own()
	s.accept(key.Public())
	for _, err := range []error{
		os.Symlink("..v2", s.path("mount/..data_tmp")),
		os.Rename(s.path("mount/..data_tmp"), s.path("mount/..data")),
		os.RemoveAll(s.path("mount/..v1")),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	normal := s.signedBy(key.Public())
	l.more(1)
	got, lost := l.end()
	s.row(row{fault: "all files, as in Kubernetes", done: "..data linked to a new folder", got: got.String(),
		normal: normal}, lost)
}
