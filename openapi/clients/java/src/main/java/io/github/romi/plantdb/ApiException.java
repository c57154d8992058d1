package io.github.romi.plantdb;

import com.fasterxml.jackson.core.JsonProcessingException;
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
    problem = null;
  }

  public ApiException(int code, String message) {
    this(code, message, null, null);
  }

  public ApiException(int code, String message, HttpHeaders responseHeaders, String responseBody) {
    super(message);
    this.code = code;
    this.responseHeaders = responseHeaders;
    this.responseBody = responseBody;
    this.problem = read(responseBody);
  }

  private static Problem read(String body) {
    if (body == null) {
      return null;
    }
    try {
      Problem problem = JSON.getDefault().getMapper().readValue(body, Problem.class);
      return problem == null || problem.getCode() == null ? null : problem;
    } catch (JsonProcessingException e) {
      return null; // not of PlantDB: a proxy's page, perhaps
    }
  }

  /** The status of HTTP; 0 when there was no answer, and then the cause says why. */
  public int getCode() {
    return code;
  }

  /** What the server says of it, with a stable code and a text for people; null when PlantDB has not answered. */
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
