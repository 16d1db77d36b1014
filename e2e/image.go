package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// image is a container image of one small file, unlike any other so that a push must upload it.
type image struct {
	marker  string // what the file in it says
	rootfs  string // tar file of its file system
	layout  string // the image as an OCI layout folder
	archive string // the same as a tar file
	digest  string // of the manifest
	config  string // digest of the config, docker's and podman's image id
}

const imageTag = "v1"

type ociDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type ociIndex struct {
	SchemaVersion int             `json:"schemaVersion"`
	Manifests     []ociDescriptor `json:"manifests"`
}

// makeImage writes an image into dir, after the OCI image-layout specification.
func makeImage(t testing.TB, dir string) *image {
	t.Helper()
	im := &image{marker: rand.Text(), layout: filepath.Join(dir, "layout"), archive: filepath.Join(dir, "image.tar")}
	rootfs := tarOf(t, map[string]string{"marker.txt": im.marker})
	im.rootfs = writeFile(t, filepath.Join(dir, "rootfs.tar"), string(rootfs), 0o644)

	// Compressed here, so that no client compresses it again and changes the digests.
	layer := im.blob(t, "application/vnd.oci.image.layer.v1.tar+gzip", gzipped(t, rootfs))
	config := im.blob(t, "application/vnd.oci.image.config.v1+json", jsonOf(t, map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Cmd": []string{"/marker"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{digestOf(rootfs)}},
	}))
	im.config = config.Digest
	manifest := im.blob(t, "application/vnd.oci.image.manifest.v1+json", jsonOf(t, map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers":        []ociDescriptor{layer},
	}))
	im.digest = manifest.Digest
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": imageTag}
	writeFile(t, filepath.Join(im.layout, "index.json"), string(jsonOf(t, ociIndex{2, []ociDescriptor{manifest}})),
		0o644)
	writeFile(t, filepath.Join(im.layout, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`, 0o644)
	writeFile(t, im.archive, string(tarOf(t, filesBelow(t, im.layout))), 0o644)
	return im
}

func (im *image) blob(t testing.TB, mediaType string, content []byte) ociDescriptor {
	t.Helper()
	digest := digestOf(content)
	writeFile(t, filepath.Join(im.layout, "blobs", "sha256", digest[len("sha256:"):]), string(content), 0o644)
	return ociDescriptor{MediaType: mediaType, Digest: digest, Size: len(content)}
}

// layoutDigest is the digest of the one image in an OCI layout folder.
func layoutDigest(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ociIndex
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 {
		t.Fatalf("read layout %q: %d images, want 1", dir, len(index.Manifests))
	}
	return index.Manifests[0].Digest
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func filesBelow(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
