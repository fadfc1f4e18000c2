"""Resets a TCP connection of another process: both ends see it broken at once, whatever they do.

Takes a duplicate of its socket (pidfd_getfd, Linux 5.6) and disconnects that, for which the kernel
sends RST. No proxy stands in the way, so nothing is slowed down. Needs the right to trace the
process: root, or the same user and an ancestor."""
import ctypes
import errno
import os
import re

PIDFD_GETFD = 438  # the same on all machines that Debian has
AF_UNSPEC = b"\0" * 16
libc = ctypes.CDLL(None, use_errno=True)


def sockets(pid, ports):
    """Its descriptors that are connected to one of these ports of this machine."""
    there = tuple(":%04X" % port for port in ports)
    inodes = set()
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            fields = line.split()
            if fields[2].endswith(there) and fields[3] == "01":
                inodes.add(fields[9])
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            inode = re.fullmatch(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except OSError:
            continue
        if inode and inode.group(1) in inodes:
            found.append(int(fd))
    return sorted(found)


def cut(pid, fd):
    """False if the process or its descriptor is gone; PermissionError if it may not be done."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        copy = libc.syscall(PIDFD_GETFD, process, fd, 0)
        if copy < 0:
            if ctypes.get_errno() in (errno.ESRCH, errno.EBADF):
                return False
            raise PermissionError(ctypes.get_errno(), "pidfd_getfd")
        libc.connect(copy, AF_UNSPEC, len(AF_UNSPEC))
        os.close(copy)
        return True
    finally:
        os.close(process)
