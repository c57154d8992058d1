package io.github.romi.plantdb;

import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.http.HttpRequest;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Arrays;
import java.util.concurrent.Flow;
import java.util.concurrent.SubmissionPublisher;
import org.apache.http.HttpEntity;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.mime.content.ContentBody;
import org.apache.http.entity.mime.content.FileBody;

/**
 * The form of an upload. Its files are sent as they were when the call began, or the form breaks off before its end, and then the
 * server keeps nothing of it.
 */
public class Upload implements HttpRequest.BodyPublisher {
  private static final int PIECE = 16 << 10;

  private final HttpEntity form;

  public Upload(HttpEntity form) {
    this.form = form;
  }

  @Override
  public long contentLength() {
    return form.getContentLength();
  }

  @Override
  public void subscribe(Flow.Subscriber<? super ByteBuffer> subscriber) {
    SubmissionPublisher<ByteBuffer> pieces = new SubmissionPublisher<>();
    pieces.subscribe(subscriber);
    Thread writer = new Thread(() -> {
      try {
        OutputStream out = new BufferedOutputStream(new Pieces(pieces), PIECE);
        form.writeTo(out);
        out.flush();
        pieces.close();
      } catch (Throwable e) { // whatever it is, the call is not to wait for the rest
        pieces.closeExceptionally(e);
      }
    }, "plantdb-upload");
    writer.setDaemon(true); // a program may end while a server reads no further
    writer.start();
  }

  /** A part of a form: the file as it is now. */
  public static ContentBody file(File file) throws ApiException {
    try {
      return new Whole(file);
    } catch (IOException e) {
      throw new ApiException(unread(e));
    }
  }

  /** Why a file could not be sent as it was. */
  static class SourceException extends IOException {
    private static final long serialVersionUID = 1L;

    final String code;
    final String title;

    SourceException(String code, String title, String message, Throwable cause) {
      super(message, cause);
      this.code = code;
      this.title = title;
    }
  }

  private static SourceException changed(String how) {
    return new SourceException("file_changed", "File changed",
        "The file changed while it was uploaded: " + how + "; nothing was kept, upload it again when nobody writes it.", null);
  }

  private static SourceException unread(IOException cause) {
    return new SourceException("file_unreadable", "File unreadable",
        "The file cannot be read (" + cause + "): nothing was kept, look at its path and its rights, and upload it again.", cause);
  }

  /** What was written, in pieces; waits while the network is behind. */
  private static class Pieces extends OutputStream {
    private final SubmissionPublisher<ByteBuffer> to;

    Pieces(SubmissionPublisher<ByteBuffer> to) {
      this.to = to;
    }

    @Override
    public void write(int b) throws IOException {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] b, int from, int length) throws IOException {
      if (!to.hasSubscribers()) {
        throw new IOException("the call is over");
      }
      to.submit(ByteBuffer.wrap(Arrays.copyOfRange(b, from, from + length)));
    }
  }

  /** A file, of which nothing but all is written. */
  private static class Whole extends FileBody {
    private final BasicFileAttributes before;

    Whole(File file) throws IOException {
      super(file, ContentType.DEFAULT_BINARY, file.getName());
      before = look();
    }

    private BasicFileAttributes look() throws IOException {
      return Files.readAttributes(getFile().toPath(), BasicFileAttributes.class);
    }

    @Override
    public long getContentLength() {
      return before.size();
    }

    @Override
    public void writeTo(OutputStream out) throws IOException {
      try (InputStream in = open()) {
        byte[] piece = new byte[PIECE];
        for (long left = before.size(); left > 0; ) {
          int n = read(in, piece, (int) Math.min(piece.length, left));
          if (n < 0) {
            throw changed("it was cut short");
          }
          out.write(piece, 0, n);
          left -= n;
        }
      }
      verify();
    }

    private InputStream open() throws SourceException {
      try {
        return new FileInputStream(getFile());
      } catch (IOException e) {
        throw getFile().exists() ? unread(e) : changed("it is gone"); // it was there when the call began
      }
    }

    private static int read(InputStream in, byte[] piece, int length) throws SourceException {
      try {
        return in.read(piece, 0, length);
      } catch (IOException e) {
        throw unread(e);
      }
    }

    private void verify() throws SourceException {
      BasicFileAttributes now;
      try {
        now = look();
      } catch (IOException e) {
        throw changed("it is gone");
      }
      if (now.size() > before.size()) {
        throw changed("it grew");
      }
      if (now.size() < before.size()) {
        throw changed("it was cut short");
      }
      if (!now.lastModifiedTime().equals(before.lastModifiedTime())) {
        throw changed("it was written");
      }
    }
  }
}
