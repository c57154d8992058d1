import io.github.romi.plantdb.ApiClient;
import io.github.romi.plantdb.ApiException;
import io.github.romi.plantdb.ApiResponse;
import io.github.romi.plantdb.api.AssetsApi;
import io.github.romi.plantdb.api.AuthApi;
import io.github.romi.plantdb.api.EventsApi;
import io.github.romi.plantdb.api.EventsApi.APIStreamEventsRequest;
import io.github.romi.plantdb.api.FilesApi;
import io.github.romi.plantdb.api.FilesetsApi;
import io.github.romi.plantdb.api.ScansApi;
import io.github.romi.plantdb.api.ScansApi.APIListScansRequest;
import io.github.romi.plantdb.model.Credentials;
import io.github.romi.plantdb.model.Event;
import io.github.romi.plantdb.model.EventList;
import io.github.romi.plantdb.model.Login;
import io.github.romi.plantdb.model.NewScan;
import io.github.romi.plantdb.model.RefreshRequest;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.net.http.HttpRequest;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.Flow;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Does with the generated client what programs do, against the server at the given address.
 *
 * <pre>Journey URL SCAN ELSEWHERE FULL CODE EXPIRED</pre>
 *
 * The server runs with --test. SCAN is a name that nothing has yet, ELSEWHERE the address of a server that is no PlantDB, with refusals in JSON
 * below /json and a line that breaks below /cut, FULL that of one that has no room and says so by CODE, and EXPIRED an access token whose time is over.
 */
public class Journey {
  private static final Pattern NEXT = Pattern.compile("[?&]after=([^&>]+)[^>]*>; rel=\"next\"");

  /** What a refusal says of what to do, by its code. */
  private static final Map<String, String> ADVICE = Map.of(
      "token_revoked", "log in again", "no_space", "Free space on the disk", "quota_exceeded", "Empty the trash",
      "no_plantdb", "look at the address", "no_answer", "look at the address");

  /** The operations, by nouns, with the token of one user. */
  static class Api {
    final AssetsApi assets;
    final AuthApi auth;
    final EventsApi events;
    final FilesApi files;
    final FilesetsApi filesets;
    final ScansApi scans;

    Api(String url, String token) {
      ApiClient client = new ApiClient();
      client.updateBaseUri(url);
      if (token != null) {
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
      }
      assets = new AssetsApi(client);
      auth = new AuthApi(client);
      events = new EventsApi(client);
      files = new FilesApi(client);
      filesets = new FilesetsApi(client);
      scans = new ScansApi(client);
    }
  }

  interface Call {
    Object run() throws ApiException;
  }

  static void check(boolean holds, String what, Object got) {
    if (!holds) {
      throw new AssertionError(what + "; got " + got);
    }
  }

  /** What happened and what to do, of a call that has to be refused so. */
  static String refused(int status, String code, Call call) {
    Object answer;
    try {
      answer = call.run();
    } catch (ApiException e) {
      check(e.getCode() == status, "the status should be " + status, e.getCode());
      check(e.getProblem() != null, "there should be a problem", e.getResponseBody());
      check(code.equals(e.getProblem().getCode()), "the code should be " + code, e.getProblem());
      check(!e.getProblem().getMessage().isEmpty(), "there should be a text for people", e.getProblem());
      check(e.getProblem().getDetail().startsWith(e.getProblem().getMessage()), "the detail should begin with the message", e.getProblem());
      String advice = ADVICE.getOrDefault(code, "");
      check(e.getProblem().getDetail().contains(advice), "the detail should say " + advice, e.getProblem());
      return e.getProblem().getDetail();
    }
    throw new AssertionError("no refusal, want " + code + "; got " + answer);
  }

  /** More than is read ahead of the network. */
  private static final long LARGE = 64 << 20;

  static void resize(File file, long length) throws IOException {
    try (RandomAccessFile f = new RandomAccessFile(file, "rw")) {
      f.setLength(length);
    }
  }

  interface Change {
    void make(File file) throws IOException;
  }

  /** A client whose calls change a file once a part of their body is read. */
  static FilesApi disturbed(String url, String token, File file, Change change) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setRequestInterceptor(request -> {
      HttpRequest.BodyPublisher body = request.copy().build().bodyPublisher().orElseThrow();
      request.header("Authorization", "Bearer " + token).POST(new HttpRequest.BodyPublisher() {
        @Override
        public long contentLength() {
          return body.contentLength();
        }

        @Override
        public void subscribe(Flow.Subscriber<? super ByteBuffer> to) {
          body.subscribe(new Flow.Subscriber<ByteBuffer>() {
            private boolean begun;

            @Override
            public void onSubscribe(Flow.Subscription subscription) {
              to.onSubscribe(subscription);
            }

            @Override
            public void onNext(ByteBuffer piece) {
              if (!begun) {
                begun = true;
                try {
                  change.make(file);
                } catch (IOException e) {
                  throw new UncheckedIOException(e);
                }
              }
              to.onNext(piece);
            }

            @Override
            public void onError(Throwable e) {
              to.onError(e);
            }

            @Override
            public void onComplete() {
              to.onComplete();
            }
          });
        }
      });
    });
    return new FilesApi(client);
  }

  static boolean isJpeg(byte[] b) {
    return b.length > 3 && b[0] == (byte) 0xff && b[1] == (byte) 0xd8 && b[2] == (byte) 0xff;
  }

  /** The first event of a kind after a position, once it is there. */
  static Event follow(EventsApi events, String scan, String after, String kind) throws Exception {
    for (long deadline = System.currentTimeMillis() + 60_000; System.currentTimeMillis() < deadline; ) {
      EventList page = events.streamEvents(APIStreamEventsRequest.newBuilder().scan(scan).after(after).build());
      for (Event event : page.getEvents()) {
        if (kind.equals(event.getKind())) {
          return event;
        }
      }
      after = page.getNext();
      if (!page.getMore()) {
        Thread.sleep(100);
      }
    }
    throw new AssertionError("no event " + kind);
  }

  public static void main(String[] args) throws Exception {
    String url = args[0];
    String scan = args[1];
    Api guest = new Api(url, null);
    Login login = guest.auth.login(new Credentials().username("admin").password("admin"));
    check("admin".equals(login.getUser().getUsername()), "admin should be logged in", login);
    Api api = new Api(url, login.getAccessToken());

    // What is there: a filter, and pages.
    List<String> all = api.scans.listScans(APIListScansRequest.newBuilder().build());
    check(all.size() > 2, "there should be scans", all);
    List<String> found = new ArrayList<>();
    int pages = 0;
    for (String after = null; pages == 0 || after != null; pages++) {
      ApiResponse<List<String>> page =
          api.scans.listScansWithHttpInfo(APIListScansRequest.newBuilder().limit(2L).after(after).build());
      found.addAll(page.getData());
      Matcher next = NEXT.matcher(String.join(", ", page.getHeaders().getOrDefault("link", List.of())));
      after = next.find() ? next.group(1) : null;
    }
    check(new TreeSet<>(found).equals(new TreeSet<>(all)) && pages > 1, "pages should hold " + all, found);
    List<String> some = api.scans.listScans(APIListScansRequest.newBuilder().where("id = \"real_plant\"").build());
    check(some.equals(List.of("real_plant")), "one scan should be found", some);
    check(!api.scans.getScan("real_plant").getImages().isEmpty(), "there should be images", "none");

    // A scan, a fileset and a file, and all of it back.
    String now = api.events.streamEvents(APIStreamEventsRequest.newBuilder().after("now").build()).getNext();
    Map<String, Object> metadata = Map.of("study", Map.of("title", "Journey"), "count", 42, "list", Arrays.asList(1, 2.5, null));
    api.scans.createScan(scan, new NewScan().metadata(metadata));
    api.filesets.createFileset(scan, "images", null);
    File photo = api.assets.getImage("real_plant", "images", "00000_rgb", "orig");
    byte[] bytes = Files.readAllBytes(photo.toPath());
    check(isJpeg(bytes), "the image of the sample should be a JPEG", photo);
    api.files.createFile(scan, "images", "00000_rgb", "jpg", photo, "{\"channel\": \"rgb\", \"note\": \"Grüße 植物\"}");
    Map<String, Object> kept = api.scans.getScanMetadata(scan, null).getMetadata();
    for (Map.Entry<String, Object> e : metadata.entrySet()) {
      check(Objects.equals(e.getValue(), kept.get(e.getKey())), "the metadata should come back", kept);
    }
    check("admin".equals(kept.get("owner")), "the owner should be admin", kept);
    Map<String, Object> ofFile = api.files.getFileMetadata(scan, "images", "00000_rgb", null).getMetadata();
    check("rgb".equals(ofFile.get("channel")) && "Grüße 植物".equals(ofFile.get("note")), "the file should have its metadata", ofFile);
    Map<String, Object> change = new java.util.HashMap<>();
    change.put("count", null);
    change.put("note", "Grüße");
    Map<String, Object> patched = api.scans.patchScanMetadata(scan, change, null).getMetadata();
    check(!patched.containsKey("count") && "Grüße".equals(patched.get("note")), "the metadata should be patched", patched);
    List<String> listed = api.filesets.listFiles(FilesetsApi.APIListFilesRequest.newBuilder().scanId(scan).filesetId("images").build()).getFiles();
    check(listed.equals(List.of("00000_rgb")), "the file should be listed", listed);
    byte[] thumbnail = Files.readAllBytes(api.assets.getImage(scan, "images", "00000_rgb", "thumb").toPath());
    check(isJpeg(thumbnail) && thumbnail.length < bytes.length, "the thumbnail should be a smaller JPEG", thumbnail.length);
    byte[] back = Files.readAllBytes(api.files.getFile(scan, "images", "00000_rgb").toPath());
    check(Arrays.equals(bytes, back), "the bytes should come back", back.length);

    // A download in two parts, of a file that changes between them.
    String whole = "[" + "1, ".repeat(1000) + "1]";
    File text = File.createTempFile("parts", ".json");
    Files.writeString(text.toPath(), whole);
    api.files.createFile(scan, "images", "parts", "json", text, null);
    ApiResponse<File> first = api.files.getFileWithHttpInfo(scan, "images", "parts", "bytes=0-999", null, null);
    check(first.getStatusCode() == 206 && Files.readString(first.getData().toPath()).equals(whole.substring(0, 1000)), "the first part should be 206", first);
    String tag = first.getHeaders().get("etag").get(0);
    String second = Files.readString(api.files.getFile(scan, "images", "parts", "bytes=1000-", tag, null).toPath());
    check(second.equals(whole.substring(1000)), "the second part should be the rest", second.length());
    refused(304, "not_modified", () -> api.files.getFile(scan, "images", "parts", null, null, tag));
    refused(416, "range_not_satisfiable", () -> api.files.getFile(scan, "images", "parts", "bytes=1000000-", null, null));
    api.files.deleteFile(scan, "images", "parts");
    Files.writeString(text.toPath(), "[2]");
    api.files.createFile(scan, "images", "parts", "json", text, null);
    String said = refused(412, "precondition_failed", () -> api.files.getFile(scan, "images", "parts", "bytes=1000-", tag, null));
    check(said.contains("changed") && said.contains("begin again"), "the message should say what to do", said);
    check(Files.readString(api.files.getFile(scan, "images", "parts").toPath()).equals("[2]"), "the new file should come", "another");

    // Of a file that changes under way nothing is kept.
    Map<String, Change> changes = Map.of(
        "it was cut short", file -> resize(file, 1 << 20),
        "it grew", file -> resize(file, LARGE + 1),
        "it was written", file -> Files.setLastModifiedTime(file.toPath(), FileTime.fromMillis(0)),
        "it is gone", file -> Files.delete(file.toPath()));
    for (Map.Entry<String, Change> done : changes.entrySet()) {
      File large = File.createTempFile("changes", ".txt");
      resize(large, LARGE);
      FilesApi disturbed = disturbed(url, login.getAccessToken(), large, done.getValue());
      String why = refused(0, "file_changed", () -> disturbed.createFile(scan, "images", "changes", "txt", large, null));
      check(why.contains(done.getKey()) && why.contains("nothing was kept, upload it again"), "it should be said that " + done.getKey(), why);
      refused(404, "unknown_file", () -> api.files.getFile(scan, "images", "changes"));
      Files.deleteIfExists(large.toPath());
    }
    String unread = refused(0, "file_unreadable", () -> api.files.createFile(scan, "images", "changes", "txt", new File("/no/such/file.txt"), null));
    check(unread.contains("/no/such/file.txt") && unread.contains("look at its path"), "an unreadable file should say what to do", unread);
    File directory = Files.createTempDirectory("changes").toFile();
    refused(0, "file_unreadable", () -> api.files.createFile(scan, "images", "changes", "txt", directory, null));
    refused(404, "unknown_file", () -> api.files.getFile(scan, "images", "changes"));

    Event event = follow(api.events, scan, now, "file.created");
    check("images".equals(event.getFileset()) && "00000_rgb".equals(event.getFile()) && "admin".equals(event.getUser()), "the upload should be told", event);

    // The next pair of tokens; the old one is void.
    String token = guest.auth.refreshToken(new RefreshRequest().refreshToken(login.getRefreshToken())).getAccessToken();
    Api old = api;
    refused(401, "token_revoked", () -> old.auth.getProfile());
    String late = refused(401, "token_expired", () -> new Api(url, args[5]).auth.getProfile());
    check(late.startsWith("Signature has expired. ") && late.contains("log in again"), "an expired token should say what to do", late);
    Api renewed = new Api(url, token);
    check("admin".equals(renewed.auth.getProfile().getUsername()), "the new token should work", token);

    // Refusals.
    refused(401, "token_missing", () -> guest.scans.createScan(scan + "_2", null));
    String reader = guest.auth.login(new Credentials().username("guest").password("guest")).getAccessToken();
    refused(403, "forbidden", () -> new Api(url, reader).scans.createScan(scan + "_2", null));
    refused(404, "unknown_scan", () -> renewed.scans.getScanMetadata("no_such_scan", null));
    refused(409, "scan_exists", () -> renewed.scans.createScan(scan, null));
    refused(400, "bad_where", () -> renewed.scans.listScans(APIListScansRequest.newBuilder().where("id =").build()));

    refused(412, "precondition_failed", () -> renewed.scans.patchScanMetadata(scan, Map.of("a", 1), "\"stale\""));

    // What is no PlantDB, and nobody.
    Api other = new Api(args[2], null);
    refused(200, "no_plantdb", () -> other.scans.listScans(APIListScansRequest.newBuilder().build()));
    refused(200, "no_plantdb", () -> other.scans.createScan(scan, null));
    refused(200, "no_plantdb", () -> other.files.getFile(scan, "images", "00000_rgb"));
    refused(404, "no_plantdb", () -> new Api(args[2] + "/missing", null).scans.listScans(APIListScansRequest.newBuilder().build()));
    refused(404, "no_plantdb", () -> new Api(args[2] + "/json", null).scans.listScans(APIListScansRequest.newBuilder().build()));
    refused(404, "no_plantdb", () -> new Api(args[2] + "/json/number", null).scans.listScans(APIListScansRequest.newBuilder().build()));
    refused(0, "no_answer", () -> new Api("http://127.0.0.1:1", null).scans.listScans(APIListScansRequest.newBuilder().build()));

    // Half a file is never taken for whole.
    Api cut = new Api(args[2] + "/cut", null);
    refused(0, "no_answer", () -> cut.files.getFile("real_plant", "images", "00000_rgb"));
    refused(0, "no_answer", () -> cut.scans.listScans(APIListScansRequest.newBuilder().build()));

    // No room.
    String full = args[3];
    Api crammed = new Api(full, new Api(full, null).auth.login(new Credentials().username("admin").password("admin")).getAccessToken());
    File large = File.createTempFile("large", ".jpg");
    Files.write(large.toPath(), new byte[1 << 20]);
    refused("no_space".equals(args[4]) ? 507 : 413, args[4], () -> crammed.files.createFile("full", "images", "large", "jpg", large, null));

    renewed.auth.logout(null);
    refused(401, "session_ended", () -> renewed.auth.getProfile());
  }
}
