#!/bin/sh
# Runs the kernels' tests on an emulated processor with AVX-512: Bochs boots a Linux kernel with the tests in a memory
# disk, and what they print comes out of the serial port. Takes minutes.
#
#     apt-get install bochs bochsbios vgabios isolinux syslinux-common xorriso busybox-static cpio
#     apt-get download "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')"
#     dpkg-deb -x linux-image-*.deb kernel
#     VMLINUZ=$(ls kernel/boot/vmlinuz-*) xtask/emulate-avx512.sh
set -eu
: "${VMLINUZ:?name a kernel, for example that of Debian's linux-image-*-cloud-amd64}"
VMLINUZ=$(realpath "$VMLINUZ")
cd "$(dirname "$0")/.."
work=target/avx512
rm -rf "$work" && mkdir -p "$work/root/bin" "$work/iso/isolinux"

tests=$(cargo test -p microtome-kernels --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*microtome_kernels-[^"]*\)".*/\1/p' | tail -1)
strip -o "$work/root/bin/tests" "$tests"
ldd "$tests" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$work/root$(dirname "$library")" && cp -L "$library" "$work/root$library"
done
cp "$(command -v busybox)" "$work/root/bin/busybox"
cat > "$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /tmp
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
RAYON_NUM_THREADS=1 /bin/tests --test-threads=1 --nocapture > /dev/ttyS0 2>&1
echo "the tests ended with $?" > /dev/ttyS0
/bin/busybox sleep 20 # until the port has sent it all
/bin/busybox poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -1 > ../iso/isolinux/initrd)
cp "$VMLINUZ" "$work/iso/isolinux/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/isolinux/"
# Bochs tells another size of the saved registers in compact form than Linux computes, which then does without AVX.
cat > "$work/iso/isolinux/isolinux.cfg" <<'BOOT'
default tests
label tests
 kernel vmlinuz
 initrd initrd
 append console=ttyS0 quiet clearcpuid=xsaves,xsavec mitigations=off lpj=1000000 tsc=reliable
BOOT
xorriso -as mkisofs -quiet -o "$work/disk.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/iso" 2>/dev/null
cat > "$work/bochsrc" <<BOCHS
display_library: rfb, options="timeout=0"
cpu: model=corei7_skylake_x, count=1, ips=100000000
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
log: $work/bochs.log
panic: action=report
error: action=report
info: action=ignore
BOCHS
echo continue > "$work/commands"
bochs -q -f "$work/bochsrc" -rc "$work/commands" > "$work/bochs.txt" 2>&1 < /dev/null || true
cat "$work/serial.txt"
grep -q "the tests ended with 0" "$work/serial.txt"
