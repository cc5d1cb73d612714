"""Runs a command as a unit file's [Service] section confines it, as far as that is the kernel's doing: capabilities,
system calls, address families, namespaces, no memory that is written and executed, no new privileges.

confine.py UNIT WITHOUT -- COMMAND...: WITHOUT is a capability to leave out as well, or "-".
"""
import ctypes, os, re, struct, subprocess, sys

unit, without, _, *command = sys.argv[1:]
settings = [line.strip().split("=", 1) for line in open(unit) if re.match(r"[A-Z]\w*=", line)]
def words(name):
    return [value.split() for key, value in settings if key == name]

# Capabilities: what is not in the bounding set is not in any set of what root executes.
kept = [name[4:].lower() for name in words("CapabilityBoundingSet")[0] if name != without]
numbers = {m[1].lower(): int(m[2]) for m in re.finditer(r"#define CAP_(\w+)\s+(\d+)$", open("/usr/include/linux/capability.h").read(), re.M)}

# System calls: sets of systemd's are resolved by systemd, numbers are the compiler's.
def members(name):
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*[members(line) for line in lines if line and not line.startswith("#")])
allowed = set()
for line in words("SystemCallFilter"):
    if line[0].startswith("~"):
        allowed -= set().union(*map(members, [line[0][1:], *line[1:]]))
    else:
        allowed |= set().union(*map(members, line))
# Whatever a service is allowed, it may start (systemd.exec(5)).
allowed |= members("@default")
defines = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-xc", "/dev/null"], capture_output=True, text=True, check=True)
calls = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR_(\w+) (\d+)$", defines.stdout, re.M)}
families = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17}

# The filter, in classic BPF.
LD, JEQ, JSET, RET = 0x20, 0x15, 0x45, 0x06
ALLOW, EPERM, ENOSYS, EAFNOSUPPORT = 0x7FFF0000, 0x50000 | 1, 0x50000 | 38, 0x50000 | 97
NEWNET, NAMESPACES = 0x40000000, 0x7E020000 | 0x80
def argument(index):
    return (LD, 0, 0, 16 + 8 * index)
special = {
    "socket": [argument(0)] + [step for family in words("RestrictAddressFamilies")[0]
        for step in [(JEQ, 0, 1, families[family]), (RET, 0, 0, ALLOW)]] + [(RET, 0, 0, EAFNOSUPPORT)],
    "clone": [argument(0), (JSET, 0, 1, NAMESPACES & ~NEWNET), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)],
    "unshare": [argument(0), (JSET, 0, 1, NAMESPACES & ~NEWNET), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)],
    "setns": [argument(1), (JEQ, 1, 0, NEWNET), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)],
    "clone3": [(RET, 0, 0, ENOSYS)],
    "mprotect": [argument(2), (JSET, 0, 1, 4), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)],
}
assert words("RestrictNamespaces") == [["net"]] and words("MemoryDenyWriteExecute") == [["yes"]]
steps = []
for name in sorted(allowed & calls.keys()):
    then = special.get(name, [(RET, 0, 0, ALLOW)])
    steps += [(LD, 0, 0, 0), (JEQ, 0, len(then), calls[name])] + then
steps.append((RET, 0, 0, EPERM))

libc = ctypes.CDLL(None, use_errno=True)
def prctl(*arguments):
    if libc.prctl(*[ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {arguments[0]}")
for name, number in numbers.items():
    # PR_CAPBSET_READ: a kernel may not know all that the headers do.
    if name not in kept and libc.prctl(23, number, 0, 0, 0) == 1:
        prctl(24, number, 0, 0, 0)
prctl(38, 1, 0, 0, 0)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
prctl(22, 2, program, 0, 0)
os.execvp(command[0], command)
