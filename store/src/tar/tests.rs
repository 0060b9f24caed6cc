//! The canonical bytes, and what the reader makes of everybody else's.

use proptest::prelude::*;

use super::fixture::{archive, edited, entry, pax};
use super::*;
use crate::RelPath;
use crate::tree::{DeviceKind, Leaf, Metadata, Timestamp};

fn path(bytes: &[u8]) -> RelPath {
    RelPath::new(bytes).unwrap()
}

fn metadata(mode: u16) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_secs(315_532_800))
}

fn file(size_bytes: u64) -> Leaf {
    Leaf::File { content: crate::ObjectId::of(b""), size_bytes }
}

fn written(write: impl FnOnce(&mut Writer<Vec<u8>>) -> Result<(), WriteTarError>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    write(&mut writer).unwrap();
    writer.finish().unwrap()
}

/// The blocks of a tar, one a line: a NUL as `~`, a run of the same byte as `<byte*count>`, trailing
/// NULs left out.
fn dump(tar: &[u8]) -> String {
    let run = |run: &[u8]| match (run[0], run.len()) {
        (0, 1) => "~".to_owned(),
        (0, count) => format!("<~*{count}>"),
        (byte, count @ 9..) => format!("<{}*{count}>", byte.escape_ascii()),
        _ => run.escape_ascii().to_string(),
    };
    let line = |block: &[u8]| {
        let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        block[..end].chunk_by(|a, b| a == b).map(run).collect::<String>()
    };
    tar.chunks(BLOCK_BYTES).map(line).collect::<Vec<_>>().join("\n")
}

fn assert_golden(tar: &[u8], golden: &str) {
    let dump = dump(tar);
    assert!(dump.trim_end() == golden.trim(), "the canonical tar has changed:\n{dump}");
}

fn read(tar: &[u8]) -> Result<Vec<Entry>, ReadTarError> {
    let mut reader = Reader::new(tar);
    let (mut entries, mut raw) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.next_entry(&mut raw)? {
        entries.push(entry);
    }
    let mut rest = [0; 999];
    while let count @ 1.. = reader.read_trailing(&mut rest)? {
        raw.extend_from_slice(&rest[..count]);
    }
    assert!(raw == tar, "the reader loses bytes");
    Ok(entries)
}

/// E002, E006, E011, E013, E014, E015, E017, E024: relative names, directories end in a slash, a removal is an empty file without
/// mode, owner and time, link targets are as they were made, numbers of devices, all mode bits, no names of owners.
#[test]
fn golden_plain() {
    let tar = written(|tar| {
        let owned = Metadata { uid: 1000, gid: 0o7777777, ..metadata(0o4755) };
        tar.directory(&RelPath::root(), &metadata(0o755))?;
        tar.directory(&path(b"d"), &metadata(0o1777))?;
        tar.opaque(&path(b"d"))?;
        tar.whiteout(&path(b"d/gone"))?;
        tar.leaf(&path(b"d/f"), &owned, &file(3))?;
        tar.output().extend_from_slice(b"abc");
        tar.pad(3)?;
        tar.hard_link(&path(b"d/g"), &owned, &path(b"d/f"))?;
        tar.leaf(&path(b"l"), &metadata(0o600), &Leaf::Symlink(b"/d/../d//f".as_slice().into()))?;
        tar.leaf(&path(b"null"), &metadata(0o666), &Leaf::Device { kind: DeviceKind::Character, major: 1, minor: 3 })?;
        tar.leaf(&path(b"sda"), &metadata(0o660), &Leaf::Device { kind: DeviceKind::Block, major: 8, minor: 0 })?;
        tar.leaf(&path(b"p"), &metadata(0o644), &Leaf::Fifo)
    });
    assert_golden(&tar, GOLDEN_PLAIN);
}

/// E018, E019, E022, E023, E025, E026, E027: PAX records only where the header has no room; raw bytes go into the header or GNU's long name.
#[test]
fn golden_extended() {
    let long = |byte: u8, count: usize| vec![byte; count];
    let tar = written(|tar| {
        let split = [&long(b'a', 90)[..], b"/", &long(b'b', 60)].concat();
        tar.directory(&path(&split), &metadata(0o755))?;
        tar.leaf(&path(&long(b'n', 120)), &metadata(0o644), &file(0))?;
        tar.leaf(&path("é".as_bytes()), &metadata(0o644), &Leaf::Symlink("ü".as_bytes().into()))?;
        tar.leaf(&path(b"raw\xff"), &metadata(0o644), &Leaf::Symlink(b"\xfe"[..].into()))?;
        tar.leaf(&path(&long(b'\xff', 101)), &metadata(0o644), &Leaf::Symlink(long(b'\xfe', 101).into()))?;
        let xattrs = [("user.b", &b"\0\xff"[..]), ("security.capability", b"\x01")];
        let everything = Metadata {
            uid: 3_000_000,
            gid: 0o10000000,
            mtime: Timestamp { secs: -1, nanos: 5 },
            xattrs: xattrs.into_iter().map(|(name, value)| (name.as_bytes().into(), value.into())).collect(),
            ..metadata(0o644)
        };
        tar.leaf(&path(b"big"), &everything, &file(9 << 30))
    });
    assert_golden(&tar, GOLDEN_EXTENDED);
}

/// E041: no change is a layer, too.
#[test]
fn an_empty_layer_is_two_blocks() {
    assert_eq!(written(|_| Ok(())), [0; 1024]);
}

#[test]
fn deletions_cannot_be_written_by_accident() {
    for name in [&b".wh.x"[..], b"d/.wh.x", b".wh..wh..opq", b".wh.d/x"] {
        let mut writer = Writer::new(Vec::new());
        let error = writer.leaf(&path(name), &metadata(0o644), &Leaf::Fifo).unwrap_err();
        assert!(matches!(error, WriteTarError::ReservedName(refused) if refused == path(name)));
    }
}

/// E028: files beyond 8 GiB.
#[test]
fn sizes_beyond_octal_are_read_by_header_alone() {
    let size = 9u64 << 30;
    let base_256 = edited(b"big", b'0', b"", b"", |header| {
        header[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
    });
    let pax = [pax(&[("size", size.to_string().as_bytes())]), entry(b"big", b'0', b"", b"")].concat();
    let ours = written(|tar| tar.leaf(&path(b"big"), &metadata(0o644), &file(size)));
    for tar in [base_256, pax, ours] {
        let entry = Reader::new(&tar[..]).next_entry(&mut Vec::new()).unwrap().unwrap();
        assert_eq!((&*entry.path, entry.body_bytes), (&b"big"[..], size));
    }
}

/// E022: times that the header cannot hold.
#[test]
fn times_before_1970_and_between_seconds() {
    for (text, secs, nanos) in [
        ("-1", -1, 0),
        ("-1.5", -2, 500_000_000),
        ("1.000000001999", 1, 1),
        ("12.", 12, 0),
        ("99999999999999", 99_999_999_999_999, 0),
    ] {
        let tar = archive(&[pax(&[("mtime", text.as_bytes())]), entry(b"f", b'0', b"", b"")]);
        assert_eq!(read(&tar).unwrap()[0].metadata.mtime, Timestamp { secs, nanos }, "{text}");
    }
    let negative = edited(b"f", b'0', b"", b"", |header| {
        header[136..148].copy_from_slice(&[&[0xff; 4][..], &(-7i64).to_be_bytes()].concat());
    });
    assert_eq!(read(&archive(&[negative])).unwrap()[0].metadata.mtime, Timestamp::from_secs(-7));
}

/// E032: what follows the last entry is part of the bytes.
#[test]
fn the_end_may_be_missing_or_followed() {
    let one = entry(b"f", b'0', b"", b"content");
    for end in [0, 511, 512, 1024, 10_240] {
        let tar = [&one[..], &vec![0; end]].concat();
        assert_eq!(read(&tar).unwrap().len(), 1, "{end} bytes of zeros");
    }
    let garbage = [&archive(std::slice::from_ref(&one))[..], b"not a tar"].concat();
    assert_eq!(read(&garbage).unwrap().len(), 1);
    // Without the padding of the last body, too.
    assert_eq!(read(&one[..512 + 7]).unwrap().len(), 1);
    assert!(read(b"").unwrap().is_empty());
}

#[test]
fn a_size_in_pax_wins_over_the_header() {
    let smuggled = entry(b"smuggled", b'0', b"", b"");
    let carrier = edited(b"carrier.tar", b'0', b"", &[&smuggled[..], &smuggled].concat(), |header| {
        header[124..136].copy_from_slice(b"00000000000\0");
    });
    let entries = read(&archive(&[pax(&[("size", b"1024")]), carrier])).unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.path[..]).collect::<Vec<_>>(), [b"carrier.tar"]);
}

/// E031: an entry of unknown type is an error.
#[test]
fn what_readers_disagree_on_is_refused() {
    let file = || entry(b"f", b'0', b"", b"");
    let field = |range: std::ops::Range<usize>, bytes: &'static [u8]| {
        edited(b"f", b'0', b"", b"", |header| header[range].copy_from_slice(bytes))
    };
    let raw_pax = |body: &[u8]| [entry(b"x", b'x', b"", body), file()].concat();
    let v1 = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5")];
    let sparse_of_two_sizes = [&v1[..], &[("size", b"512")]].concat();
    for (what, tar) in [
        ("record without a length", raw_pax(b"path=x\n")),
        ("record with a wrong length", raw_pax(b"8 path=x\n")),
        ("record that is not closed", raw_pax(b"9 path=xy")),
        ("record after nonsense", raw_pax(b"10 path=xy\n\0\0")),
        ("record without a key", raw_pax(b"5 =x\n")),
        ("size that is no number", raw_pax(b"10 size=1x\n")),
        ("negative size", raw_pax(b"10 size=-1\n")),
        ("uid with a plus", raw_pax(b"9 uid=+1\n")),
        ("time that is none", raw_pax(b"12 mtime=1e\n")),
        ("uid of 33 bits", raw_pax(b"18 uid=4294967296\n")),
        ("negative size in base 256", field(124..136, &[0xff; 12])),
        ("size of 65 bits", field(124..136, &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("size that is not octal", field(124..136, b"0000000000x\0")),
        ("negative uid", field(108..116, &[0xff; 8])),
        ("unknown type", entry(b"f", b'M', b"", b"")),
        ("two long names", [entry(b"L", b'L', b"", b"a\0"), entry(b"L", b'L', b"", b"b\0"), file()].concat()),
        ("long name of nothing", entry(b"L", b'L', b"", b"a\0")),
        ("cut body", entry(b"f", b'0', b"", &[1; 600])[..1000].to_vec()),
        ("cut header", file()[..300].to_vec()),
        ("lone zero block", [file(), vec![0; 512], file()].concat()),
        ("sparse of two sizes", [pax(&sparse_of_two_sizes), entry(b"f", b'0', b"", &[b'0'; 512])].concat()),
        ("checksum", {
            let mut tar = file();
            tar[0] = b'g';
            tar
        }),
    ] {
        assert!(read(&tar).is_err(), "{what}");
    }
}

#[test]
fn errors_name_the_entry_in_printable_and_few_characters() {
    let kind = read(&entry(b"\x1b[2J", b'M', b"", b"")).unwrap_err();
    assert_eq!(kind.to_string(), r"tar entry \u{1b}[2J: type 'M' is not supported");
    let name = vec![b'x'; 15_000];
    let long = [entry(b"L", b'L', b"", &name), entry(b"f", b'M', b"", b"")].concat();
    assert!(read(&long).unwrap_err().to_string().len() < 300);
}

proptest! {
    #[test]
    fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), valid in any::<bool>()) {
        if valid && bytes.len() >= 512 {
            let sum: u32 = bytes[..148].iter().chain(&bytes[156..512]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let mut reader = Reader::new(&bytes[..]);
        while let Ok(Some(_)) = reader.next_entry(&mut Vec::new()) {}
    }

    #[test]
    fn a_flipped_bit_never_panics(at in 0usize..2560, bit in 0u8..8) {
        let mut tar = archive(&[pax(&[("mtime", b"1.5"), ("path", b"longer")]), entry(b"f", b'0', b"", b"content")]);
        let at = at % tar.len();
        tar[at] ^= 1 << bit;
        let mut reader = Reader::new(&tar[..]);
        while let Ok(Some(_)) = reader.next_entry(&mut Vec::new()) {}
    }

    #[test]
    fn names_come_back(name in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'a'), Just(0xc3), Just(0xa9), any::<u8>()], 1..400)) {
        let Ok(path) = RelPath::clean(&name) else { return Ok(()) };
        prop_assume!(!path.is_root());
        let link = Leaf::Symlink(name.clone().into());
        let tar = written(|tar| {
            tar.leaf(&path, &metadata(0o644), &link)?;
            tar.directory(&path, &metadata(0o755))
        });
        let entries = read(&tar).unwrap();
        prop_assert_eq!(&*entries[0].path, path.as_bytes());
        prop_assert_eq!(&entries[0].kind, &Kind::Symlink(name.into()));
        prop_assert_eq!(&entries[1].path[..entries[1].path.len() - 1], path.as_bytes());
    }
}

const GOLDEN_PLAIN: &str = r"
./<~*98>0000755~0000000~0000000~<0*11>~02263523000~007371~ 5<~*100>ustar~00<~*64>0000000~0000000
d/<~*98>0001777~0000000~0000000~<0*11>~02263523000~007464~ 5<~*100>ustar~00<~*64>0000000~0000000
d/.wh..wh..opq<~*86>0000000~0000000~0000000~<0*11>~<0*11>~011366~ 0<~*100>ustar~00<~*64>0000000~0000000
d/.wh.gone<~*90>0000000~0000000~0000000~<0*11>~<0*11>~010746~ 0<~*100>ustar~00<~*64>0000000~0000000
d/f<~*97>0004755~0001750~7777777~<0*10>3~02263523000~007725~ 0<~*100>ustar~00<~*64>0000000~0000000
abc
d/g<~*97>0004755~0001750~7777777~<0*11>~02263523000~010315~ 1d/f<~*97>ustar~00<~*64>0000000~0000000
l<~*99>0000777~0000000~0000000~<0*11>~02263523000~010576~ 2/d/../d//f<~*90>ustar~00<~*64>0000000~0000000
null<~*96>0000666~0000000~0000000~<0*11>~02263523000~010132~ 3<~*100>ustar~00<~*64>0000001~0000003
sda<~*97>0000660~0000000~0000000~<0*11>~02263523000~007717~ 4<~*100>ustar~00<~*64>0000010~0000000
p<~*99>0000644~0000000~0000000~<0*11>~02263523000~007412~ 6<~*100>ustar~00<~*64>0000000~0000000
";

const GOLDEN_EXTENDED: &str = r"
<b*60>/<~*39>0000755~0000000~0000000~<0*11>~02263523000~043735~ 5<~*100>ustar~00<~*64>0000000~0000000~<a*90>
PaxHeaders/<n*89>0000000~0000000~0000000~00000000202~<0*11>~033155~ x<~*100>ustar~00
130 path=<n*120>\n
<n*89><~*11>0000644~0000000~0000000~<0*11>~02263523000~032322~ 0<~*100>ustar~00<~*64>0000000~0000000
PaxHeaders/<~*89>0000000~0000000~0000000~<0*9>32~<0*11>~010060~ x<~*100>ustar~00
15 linkpath=\xc3\xbc\n11 path=\xc3\xa9\n
<~*100>0000777~0000000~0000000~<0*11>~02263523000~007235~ 2<~*100>ustar~00<~*64>0000000~0000000
raw\xff<~*96>0000777~0000000~0000000~<0*11>~02263523000~010744~ 2\xfe<~*99>ustar~00<~*64>0000000~0000000
././@LongLink<~*87>0000000~0000000~0000000~00000000146~<0*11>~007755~ K<~*100>ustar  
<\xfe*101>
././@LongLink<~*87>0000000~0000000~0000000~00000000146~<0*11>~007756~ L<~*100>ustar  
<\xff*101>
<\xff*100>0000777~0000000~0000000~<0*11>~02263523000~152561~ 2<\xfe*100>ustar~00<~*64>0000000~0000000
PaxHeaders/big<~*86>0000000~0000000~0000000~00000000175~<0*11>~010552~ x<~*100>ustar~00
38 SCHILY.xattr.security.capability=\x01\n26 SCHILY.xattr.user.b=~\xff\n15 gid=2097152\n12 mtime=-1\n19 size=9663676416\n15 uid=3000000\n
big<~*97>0000644~0000000~0000000~<0*11>~<0*11>~007657~ 0<~*100>ustar~00<~*64>0000000~0000000
";
