package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

const (
	// lockTimeout is a thousand times what an update takes, and shorter than a client's timeout.
	// The holder of a lock may be stopped, or wait for a disk.
	lockTimeout = time.Second
	minPause    = 50 * time.Microsecond
	maxPause    = 5 * time.Millisecond
)

var (
	errBusy = fmt.Errorf("locked by another process for more than %s", lockTimeout)
	// errForeignFile is the cause when a name is taken by something that dockerauth did not put
	// there.
	errForeignFile = errors.New("not a plain file of this service")
)

// shardFile is an open file of a shard.
type shardFile struct {
	*os.File
	number byte
}

// openShard opens a plain file of this account, and nothing else: no link, no file with a second
// name elsewhere, nothing that makes a call wait.
func openShard(root *os.Root, number byte, flag int) (shardFile, error) {
	name := shardName(number)
	// for the other end of a FIFO, for a lease to be given back
	const notWaiting = syscall.O_NONBLOCK | syscall.O_NOCTTY
	file, err := root.OpenFile(name, flag|notWaiting, 0o600)
	if err != nil {
		if info, statErr := root.Lstat(name); statErr == nil && !info.Mode().IsRegular() {
			err = errForeignFile
		}
		return shardFile{}, err
	}
	if err := checkFile(file); err != nil {
		_ = file.Close()
		return shardFile{}, err
	}
	return shardFile{file, number}, nil
}

func shardName(number byte) string { return fmt.Sprintf("%02x", number) }

func checkFile(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || stat.Nlink > 1 {
		return errForeignFile
	}
	return nil
}

// lock waits for the right to write, for lockTimeout at most. It polls: only a signal can wake a
// process that sleeps in flock(2). The lock belongs to the open file, so it holds against
// goroutines with a file of their own as well as against processes. It ends with its holder, even
// one that is killed.
func (f shardFile) lock() error {
	deadline := time.Now().Add(lockTimeout)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
		if time.Now().After(deadline) {
			return errBusy
		}
		time.Sleep(pause/2 + rand.N(pause))
	}
}

// unlock comes before Close: a child that was just forked may still have the file open.
func (f shardFile) unlock() { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// read returns the newest whole shard, and the next sequence number. An empty file is an empty
// shard; one without a whole slot is ErrDamaged.
//
// Without the lock only the slot that looks newest will do. If it is not whole, either it is being
// written and the other is right, or it was the newest a moment ago, is being overwritten, and the
// other is newer.
func (f shardFile) read(locked bool) (s shard, next uint64, err error) {
	headers, slots, err := f.headers()
	if err != nil || slots == 0 {
		return nil, 0, err
	}
	if !locked && len(headers) > 1 {
		headers = headers[:1]
	}
	err = errors.New("not of this version")
	for _, h := range headers {
		var content []byte
		if content, err = f.at(h); err != nil {
			return nil, 0, err
		}
		if s, err = decodeShard(f.number, h, content); err == nil {
			return s, h.sequence + 1, nil
		}
	}
	return nil, 0, fmt.Errorf("%s is %w and counts as empty: %w", f.Name(), ErrDamaged, err)
}

// headers returns those that may be right, the newest first, and the number of slots in the file.
func (f shardFile) headers() (headers []header, slots int, err error) {
	for slot := range 2 {
		b := make([]byte, headerLen)
		n, err := f.readAt(b, slot, 0)
		if err != nil {
			return nil, 0, err
		}
		if n > 0 {
			slots++
		}
		if h, ok := decodeHeader(slot, b[:n]); ok {
			headers = append(headers, h)
		}
	}
	if len(headers) == 2 && headers[0].sequence < headers[1].sequence {
		headers[0], headers[1] = headers[1], headers[0]
	}
	return headers, slots, nil
}

// at returns the records that a header announces, or fewer.
func (f shardFile) at(h header) ([]byte, error) {
	b := make([]byte, h.length)
	n, err := f.readAt(b, int(h.sequence%2), headerLen)
	return b[:n], err
}

func (f shardFile) readAt(b []byte, slot, offset int) (int, error) {
	n, err := f.ReadAt(b, int64(slot*slotSize+offset))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// write writes a shard into the slot of its sequence number, the older one. A write that is cut
// off, by a full disk or a killed process, leaves the other slot; the next write replaces it.
//
// There is no fsync: it takes 5 to 50 ms, and a login waits. A power cut may lose the writes of the
// last half minute, or all records of the shard if both slots were on their way to the disk. A
// killed process loses nothing. Records that must outlast a power cut would need Sync here, so that
// the newer slot is safe before the older is overwritten, and a Sync of the folder for a new file.
func (f shardFile) write(s shard, sequence uint64) error {
	_, err := f.WriteAt(s.encode(sequence), int64(sequence%2)*int64(slotSize))
	return err
}

// removeForeignFile clears the name for a file of this store.
func removeForeignFile(root *os.Root, number byte) error {
	if err := root.Remove(shardName(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
