# SPDX-License-Identifier: GPL-2.0-only
# Runs the scripts that the documentation's blocks became, each with nf_wasm inserted anew, in a network
# namespace, a mount namespace and a folder of its own.
for script in /share/.blocks/*; do
	modprobe -r nf_wasm && modprobe nf_wasm || exit
	rm -rf /root/block
	mkdir /root/block
	cd /root/block || exit
	cp /usr/share/nf_wasm/filters/* .
	find /share -maxdepth 1 -type f -exec cp -t . {} +
	unshare --net --mount sh -c 'ip link set lo up; exec bash -c "$(cat "$1")"' sh "$script"
done
