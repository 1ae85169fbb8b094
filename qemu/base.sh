#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Assembles, in the build root, what every guest of one kernel has: Debian's programs with their
# libraries, busybox for what is missing there, and modules of Debian's kernel.
#   base.sh RELEASE IMAGE OUT      -> OUT/tree, OUT/base.cpio
set -eu
release=$1 image=$2 out=$3
here=$(dirname "$0")
tree=$out/tree
modules=lib/modules/$release

programs="/usr/bin/bash /usr/bin/nice /usr/bin/ping /usr/bin/tcpdump /usr/sbin/bpftool /usr/sbin/bridge
	/usr/sbin/conntrack /usr/sbin/ethtool /usr/sbin/ip /usr/sbin/ipset /usr/sbin/iptables
	/usr/sbin/iptables-restore /usr/sbin/nft /usr/bin/ss /usr/sbin/tc"

mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib64" "$tree/usr/lib"
for dir in bin sbin lib lib64; do
	ln -s usr/$dir "$tree/$dir"
done
for dir in dev etc mnt proc root run share sys tmp var; do
	mkdir "$tree/$dir"
done
ln -s /proc/self/mounts "$tree/etc/mtab"
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/tmp:/bin/sh' > "$tree/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' > "$tree/etc/group"
echo '127.0.0.1 localhost
::1 localhost' > "$tree/etc/hosts"
for table in protocols services; do
	[ ! -e /etc/$table ] || cp /etc/$table "$tree/etc/"
done
cp -r /etc/iproute2 "$tree/etc/" 2>/dev/null || true

# Puts a program there, by the name that it is called by.
add() {
	real=$(readlink -f "$1")
	mkdir -p "$tree$(dirname "$real")"
	cp "$real" "$tree$real"
	[ "$1" = "$real" ] || ln -s "$real" "$tree$1"
}

# What busybox has and Debian too is Debian's.
applets=
for applet in $(busybox --list); do
	own=
	for program in /usr/bin/$applet /usr/sbin/$applet; do
		[ ! -x "$program" ] || own="$own $program"
	done
	programs="$programs$own"
	[ -n "$own" ] || applets="$applets $applet"
done
programs=$(printf '%s\n' $programs | sort -u)
for program in $programs; do
	add "$program"
done
# An applet that starts a program takes an applet before a program of the same name: these would start
# busybox's ip. Nobody starts that with `nc -e`.
for applet in $applets; do
	case $applet in
	ash | cttyhack | linuxrc | openvt | run-init | time) ;;
	*) ln -s busybox "$tree/usr/bin/$applet" ;;
	esac
done

# The C library is needed whatever the tools are linked with: our own programs are.
for library in $(ldd $programs 2>/dev/null |
	sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^\t\(\/[^ ]*\) (.*/\1/p' | sort -u) \
	/lib/x86_64-linux-gnu/libm.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1 \
	/lib/x86_64-linux-gnu/libbpf.so.1; do
	mkdir -p "$tree$(dirname "$library")"
	cp -L "$library" "$tree$library"
done
# What iptables loads as rules need it.
mkdir -p "$tree/usr/lib/x86_64-linux-gnu"
cp -r /usr/lib/x86_64-linux-gnu/xtables "$tree/usr/lib/x86_64-linux-gnu/"

depmod -b "$image" "$release"
mkdir -p "$tree/$modules"
cp "$image/$modules"/modules.builtin* "$image/$modules/modules.order" "$tree/$modules/"
sed '/^#/d' "$here/modules" | while read -r pattern; do
	(cd "$image/$modules" && ls kernel/$pattern.ko* 2>/dev/null) || true
done > "$out/wanted"
# modules.dep names, for each module, all that it needs in turn.
awk -F '[: ]+' 'NR == FNR { wanted[$1]; next } $1 in wanted { for (i = 1; i <= NF; i++) if ($i) print $i }' \
	"$out/wanted" "$image/$modules/modules.dep" | sort -u | while read -r module; do
	mkdir -p "$tree/$modules/$(dirname "$module")"
	cp "$image/$modules/$module" "$tree/$modules/$module"
done
find "$tree/$modules" -name '*.ko.xz' -print0 | xargs -0 -r -P0 -n16 xz -d

(cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) > "$out/base.cpio"
