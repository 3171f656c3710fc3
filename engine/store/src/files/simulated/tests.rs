use super::*;

#[test]
fn flushed_bytes_survive_and_others_may() {
    let disk = Simulated::new();
    let path = Path::new("/db/a");
    let file = disk.create(path).unwrap();
    file.write_at(0, &[1; 2000]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/db")).unwrap();
    file.write_at(1000, &[2; 3000]).unwrap();
    let mut lengths = HashSet::new();
    let mut is_torn = false;
    for seed in 0..50 {
        let contents = disk.after_crash(seed).contents();
        let bytes = &contents[0].1;
        assert_eq!(bytes[..512], [1; 512], "flushed, and untouched since");
        assert!(bytes.len() == 2000 || bytes.len() == 4000);
        lengths.insert(bytes.len());
        is_torn |= bytes[1000..2000].contains(&1) && bytes[1000..2000].contains(&2);
    }
    assert_eq!(lengths.len(), 2);
    assert!(is_torn);
}

#[test]
fn names_need_their_folder_flushed() {
    let disk = Simulated::new();
    disk.create(Path::new("/db/a")).unwrap();
    let found: HashSet<usize> = (0..20).map(|seed| disk.after_crash(seed).contents().len()).collect();
    assert_eq!(found, HashSet::from([0, 1]));
}

#[test]
fn faults_meet_their_call() {
    let disk = Simulated::new();
    let file = disk.create(Path::new("/a")).unwrap();
    disk.fail_at(1, Fault::NoSpace);
    disk.fail_at(2, Fault::ShortWrite);
    disk.fail_at(5, Fault::PowerOff);
    assert_eq!(file.write_at(0, &[1; 8]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(file.write_at(0, &[1; 8]).is_err());
    assert_eq!(file.len().unwrap(), 4);
    file.write_at(0, &[1; 8]).unwrap();
    assert!(file.sync().is_err());
    assert!(file.len().is_err());
}
