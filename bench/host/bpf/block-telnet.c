// SPDX-License-Identifier: GPL-2.0-only
/* Drops TCP to port 23, and TCP whose port is cut off. Accepts later fragments. */
int filter(const unsigned char *packet, unsigned long len)
{
	unsigned long tcp;

	if (len < 20 || packet[9] != 6 || (packet[6] & 0x1f) || packet[7])
		return 1;
	tcp = (packet[0] & 15) * 4;
	if (tcp + 4 > len)
		return 0;
	return packet[tcp + 2] != 0 || packet[tcp + 3] != 23;
}
