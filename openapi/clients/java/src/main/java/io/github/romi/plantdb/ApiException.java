package io.github.romi.plantdb;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.net.URI;
import java.net.http.HttpHeaders;
import io.github.romi.plantdb.model.Problem;

/** A call that failed: refused by the server, or never answered. */
public class ApiException extends Exception {
  private static final long serialVersionUID = 1L;

  private final int code;
  private final transient HttpHeaders responseHeaders;
  private final String responseBody;
  private final transient Problem problem;

  public ApiException(Throwable cause) {
    super(cause);
    code = 0;
    responseHeaders = null;
    responseBody = null;
    problem = failed(cause);
  }

  public ApiException(int code, String message) {
    this(code, message, null, null);
  }

  public ApiException(int code, String message, HttpHeaders responseHeaders, String responseBody) {
    this(code, message, responseHeaders, responseBody, null);
  }

  /** A refusal by whoever answers at the address. */
  public ApiException(int code, String message, HttpHeaders responseHeaders, String responseBody, URI address) {
    super(message);
    this.code = code;
    this.responseHeaders = responseHeaders;
    this.responseBody = responseBody;
    this.problem = told(code, responseBody, address);
  }

  private static Problem failed(Throwable cause) {
    for (Throwable c = cause; c != null; c = c.getCause()) {
      if (c instanceof Upload.SourceException) {
        Upload.SourceException source = (Upload.SourceException) c;
        return problem(0, source.code, source.title, source.getMessage());
      }
    }
    // What cannot be read was answered by somebody.
    return cause instanceof JsonProcessingException
        ? problem(0, "no_plantdb", "No PlantDB", "This is no answer of PlantDB: look at the address, and at proxies on the way.")
        : problem(0, "no_answer", "No answer", "The server does not answer (" + cause + "): look at the address, and whether it runs.");
  }

  private static Problem told(int code, String body, URI address) {
    if (code == 304) {
      return problem(code, "not_modified", "Not Modified", "You have the current version: it has the ETag of If-None-Match.");
    }
    Problem said = read(body);
    return said != null ? said : problem(code, "no_plantdb", "No PlantDB", (address == null ? "This" : address)
        + " gives no answer of PlantDB (HTTP " + code + "): look at the address, and at proxies on the way.");
  }

  private static Problem read(String body) {
    if (body == null) {
      return null;
    }
    try {
      if (!JSON.getDefault().getMapper().readTree(body).path("code").isTextual()) {
        return null; // not of PlantDB, though JSON
      }
      return JSON.getDefault().getMapper().readValue(body, Problem.class);
    } catch (JsonProcessingException e) {
      return null; // not of PlantDB: a proxy's page, perhaps
    }
  }

  private static Problem problem(long status, String code, String title, String message) {
    return new Problem().status(status).code(code).title(title).message(message).error(message).detail(message);
  }

  /** Says whether an answer is a page, which PlantDB never sends. */
  public static boolean isPage(HttpHeaders headers) {
    return headers.firstValue("Content-Type").orElse("").startsWith("text/html");
  }

  /** The status of HTTP; 0 when there was no answer, and then the cause says why. */
  public int getCode() {
    return code;
  }

  /**
   * What is wrong, with a stable code and a text for people: by the server, or, with the codes no_plantdb and no_answer, where another
   * server has answered or none; not_modified where you have the current version; file_changed and file_unreadable where what was to be
   * uploaded was written meanwhile, or could not be read.
   */
  public Problem getProblem() {
    return problem;
  }

  public HttpHeaders getResponseHeaders() {
    return responseHeaders;
  }

  public String getResponseBody() {
    return responseBody;
  }
}
